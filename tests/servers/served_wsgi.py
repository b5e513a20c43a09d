"""The same app as ``served_asgi``, for WSGI servers, and without a framework."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from kmsi_middleware.wsgi import KMSIMiddleware


def ticks(every: float) -> Iterator[bytes]:
    while True:
        yield b"tick "
        time.sleep(every)


def site(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path, data, session = environ["PATH_INFO"], environ["kmsi.session"], environ["kmsi"]
    if path == "/public":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"for everybody"]
    if path == "/stream":
        given = parse_qs(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Length", "100000")] if "length" in given else [])
        return ticks(float(given["every"][0]))
    answer: dict[str, Any] = {"process": os.getpid()}
    if path == "/count":
        data["count"] = data.get("count", 0) + 1
    else:
        answer |= {"user": session.name, "persistent": session.persistent, "query": environ.get("QUERY_STRING", "")}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({**answer, "count": data.get("count", 0)}).encode()]


app = KMSIMiddleware(site)
