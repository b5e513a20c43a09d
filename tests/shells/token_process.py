"""One process of an app: reads a request from each line of its input, and writes what it answers to each."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.shells.shell_servers import Server
from tests.shells.token_app import TokenApp

from kmsi_middleware.asgi import KMSIMiddleware as ASGIMiddleware
from kmsi_middleware.wsgi import KMSIMiddleware as WSGIMiddleware


def main(shell: str, settings: dict[str, Any]) -> None:
    now = [0.0]
    app = TokenApp()
    face, inner = (WSGIMiddleware, app.wsgi) if shell == "wsgi" else (ASGIMiddleware, app.asgi)
    middleware: Any = face(inner, clock=lambda: now[0], **settings)
    server = Server(shell, middleware)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        now[0] = asked["now"]
        answer = server("GET", asked["url"], [tuple(pair) for pair in asked["headers"]])
        said = {"status": answer.status, "headers": answer.headers, "body": answer.body.decode()}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
