"""The ASGI app that the servers of these tests serve. All its settings come from the environment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from kmsi_middleware import KMSIMiddleware


async def home(request: Request) -> Response:
    return JSONResponse(
        {
            "user": request.user.display_name,
            "count": request.session.get("count", 0),
            "persistent": request.scope["kmsi"].persistent,
            "query": request.url.query,
            "process": os.getpid(),
        }
    )


async def count(request: Request) -> Response:
    request.session["count"] = request.session.get("count", 0) + 1
    return JSONResponse({"count": request.session["count"], "process": os.getpid()})


async def public(request: Request) -> Response:
    return PlainTextResponse("for everybody")


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"user": socket.user.display_name, "count": socket.session.get("count", 0)})
    await socket.close()


async def chat(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text.upper())
    print("chat: over", flush=True)


async def ticks(every: float) -> AsyncIterator[str]:
    while True:
        yield "tick "
        await anyio.sleep(every)


async def stream(request: Request) -> Response:
    headers = {"content-length": "100000"} if "length" in request.query_params else {}
    return StreamingResponse(ticks(float(request.query_params["every"])), headers=headers)


app = Starlette(
    routes=[
        Route("/", home),
        Route("/page", home),
        Route("/count", count, methods=["POST"]),
        Route("/public", public),
        Route("/stream", stream),
        WebSocketRoute("/talk", talk),
        WebSocketRoute("/chat", chat),
    ]
)
app.add_middleware(KMSIMiddleware)
