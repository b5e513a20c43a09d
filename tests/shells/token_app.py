"""An app that calls an API with the person's access token, for ASGI and for WSGI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anyio.to_thread

from kmsi_middleware.errors import KMSIError
from kmsi_middleware.tokens import access_token, access_token_async


class TokenApp:
    """Routes by the path's last segment:

    ``token``: answers it. ``thread``: the same from a thread, as FastAPI's plain functions. ``caught``: answers the
    error's code. ``framework``: answers 500 to whatever is raised, as most frameworks do. ``apart``: 500 for a reason
    of its own. ``late``: asks when the response has started. ``data``: writes session data, and then asks.
    """

    def __init__(self) -> None:
        self.during: Callable[[], Any] = lambda: None

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        status, said = 200, {}
        match scope["path"].rpartition("/")[2]:
            case "token":
                said = {"token": await access_token_async(scope)}
            case "thread":
                said = {"token": await anyio.to_thread.run_sync(access_token, scope)}
            case "caught":
                try:
                    said = {"token": await access_token_async(scope)}
                except KMSIError as error:
                    said = {"code": error.code}
            case "framework":
                try:
                    said = {"token": await access_token_async(scope)}
                except KMSIError:
                    status = 500
            case "apart":
                status = 500
            case "late":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await access_token_async(scope)
            case "data":
                scope["session"]["x"] = 1
                said = {"token": await access_token_async(scope), "data": dict(scope["session"])}
            case "wrong":
                said = {"token": access_token(scope)}
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        status, said = "200 OK", {}
        match environ["PATH_INFO"].rpartition("/")[2]:
            case "token" | "thread":
                said = {"token": access_token(environ)}
            case "caught":
                try:
                    said = {"token": access_token(environ)}
                except KMSIError as error:
                    said = {"code": error.code}
            case "framework":
                try:
                    said = {"token": access_token(environ)}
                except KMSIError:
                    status = "500 Failed"
            case "apart":
                status = "500 Failed"
            case "late":
                return _late(environ, start_response)
            case "generator":
                return _generator(environ, start_response)
            case "data":
                environ["kmsi.session"]["x"] = 1
                said = {"token": access_token(environ), "data": dict(environ["kmsi.session"])}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(said).encode()]


def _late(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b""
    access_token(environ)


def _generator(environ: Any, start_response: Any) -> Iterator[bytes]:
    token = access_token(environ)
    start_response("200 OK", [("Content-Type", "application/json")])
    yield json.dumps({"token": token}).encode()
