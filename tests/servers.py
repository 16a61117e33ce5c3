"""HTTP servers that answer exactly what a test says, on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Answer", "serving"]


@dataclass
class Answer:
    """An answer: its status, body and further headers; with `cut` the connection ends after so many bytes."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@contextmanager
def serving(answers: Sequence[Answer] | Answer) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Serve each of `answers` once, or one of them always; yield the address, and what was asked so far."""
    seen: list[tuple[str, dict[str, str]]] = []
    left = None if isinstance(answers, Answer) else list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, dict(self.headers.items())))
            answer = answers if isinstance(answers, Answer) else left.pop(0)  # type: ignore[union-attr]
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])
            self.close_connection = True

        do_HEAD = do_GET  # noqa: N815 - the base class finds it by this name

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
