"""A credential to show, and a server that hears what it is shown."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from colab_magics.core.secrets.secrets import Credential, Secret

TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


def credential(token: str = TOKEN, username: str | None = None) -> Credential:
    """What a host is shown."""
    return Credential(Secret(token, "a test"), username)


@contextlib.contextmanager
def server(answer: tuple[int, dict[str, str]]) -> Iterator[tuple[str, list[str | None]]]:
    """A plain http server that gives one answer; yields its address and the Authorization headers it was sent."""
    heard: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers.get("Authorization"))
            self.send_response(answer[0])
            for name, value in answer[1].items():
                self.send_header(name, value.replace("PATH", self.path))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{made.server_port}", heard
    finally:
        made.shutdown()
        made.server_close()
        thread.join()
