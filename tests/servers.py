"""HTTP servers that answer exactly what a test says, on loopback."""

from __future__ import annotations

import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

__all__ = ["Answer", "Certificate", "certify", "serving", "socks_proxy"]


@dataclass
class Answer:
    """An answer: its status, body and further headers; with `cut` the connection ends after so many bytes.

    With `gate` it waits for that, after the bytes up to `cut` if there is one, before all else if not. What is
    `endless` follows the body again and again, until the client hangs up.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    gate: threading.Event | None = None
    endless: bytes = b""
    sent: threading.Event = field(default_factory=threading.Event)


class Certificate(NamedTuple):
    """A certificate that nobody knows yet, and a server's side of TLS with it."""

    file: Path
    tls: ssl.SSLContext


def certify(folder: Path, name: str) -> Certificate:
    """Make a certificate for a server of the given name with openssl."""
    file, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a test's"]
    command += ["-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file, key)
    return Certificate(file, tls)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: whoever does not trust us hangs up."""


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def serving(
    answers: Sequence[Answer] | Answer,
    tls: ssl.SSLContext | None = None,
    *,
    connects: bool = True,
    keeps: bool = False,
    made: list[object] | None = None,
) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Serve each of `answers` once, or one of them always; yield the address, and what was asked so far.

    A proxy that is asked for a connection connects to that port of this machine, whatever the host is called, unless
    `connects` is false. With `keeps` connections are kept open; each is added to `made`.
    """
    seen: list[tuple[str, dict[str, str]]] = []
    left = None if isinstance(answers, Answer) else list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if keeps else "HTTP/1.0"

        def setup(self) -> None:
            super().setup()
            if made is not None:
                made.append(self.client_address)

        def do_GET(self) -> None:
            seen.append((self.path, dict(self.headers.items())))
            answer = answers if isinstance(answers, Answer) else left.pop(0)  # type: ignore[union-attr]
            if answer.gate and answer.cut is None:
                answer.gate.wait(60)
            self.send_response(answer.status)
            length = {} if answer.endless else {"Content-Length": str(len(answer.body))}
            for name, value in {**length, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])
            answer.sent.set()
            while answer.endless:
                self.wfile.write(answer.endless)
            if answer.gate:
                answer.gate.wait(60)
            self.close_connection = not keeps

        do_HEAD = do_GET  # noqa: N815 - the base class finds it by this name

        def do_CONNECT(self) -> None:
            if not connects:
                self.do_GET()
                return
            seen.append((self.path, dict(self.headers.items())))
            port = self.path.rpartition(":")[2]
            with socket.create_connection(("127.0.0.1", int(port))) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_relay, args=(there, self.connection))
                back.start()
                _relay(self.connection, there)
                back.join()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        # The handshake is left to the thread of each connection.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http{'s' * (tls is not None)}://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def socks_proxy() -> Iterator[tuple[str, list[str]]]:
    """A SOCKS 5 proxy (RFC 1928) that asks for no password; yield its host and port, and whom it was asked for.

    Every host is this machine to it.
    """
    asked: list[str] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            _, count = self._read(2)
            self._read(count)
            self.request.sendall(b"\x05\x00")
            kind = self._read(4)[3]
            host = socket.inet_ntoa(self._read(4)) if kind == 1 else self._read(self._read(1)[0]).decode()
            port = int.from_bytes(self._read(2), "big")
            asked.append(f"{host}:{port}")
            with socket.create_connection(("127.0.0.1", port)) as there:
                self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
                back = threading.Thread(target=_relay, args=(there, self.request))
                back.start()
                _relay(self.request, there)
                back.join()

        def _read(self, count: int) -> bytes:
            data: bytes = self.request.recv(count, socket.MSG_WAITALL)
            return data

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
