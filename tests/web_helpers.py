"""A small web server with answers chosen by a test. It records each request."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class RecordedRequest(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    form: Mapping[str, str]


class WebResponse(NamedTuple):
    status: int
    body: Any = ""


class WebServer:
    """The server's address, and the requests it has received."""

    def __init__(self, url: str) -> None:
        self.url, self.requests = url, list[RecordedRequest]()


def parse_form(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}


@contextmanager
def web(answer: Callable[[RecordedRequest], WebResponse]) -> Iterator[WebServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            form = parse_form(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = RecordedRequest(
                self.command, parts.path, parse_form(parts.query), headers, form
            )
            served.requests.append(asked)
            status, body = answer(asked)
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = WebServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
