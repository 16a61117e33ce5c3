"""Threaded HTTP/1.1 on loopback: what both stand-ins are built on."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import Literal, cast
from urllib.parse import parse_qs, urlsplit

__all__ = ["HTML", "App", "Exchange", "LoopbackServer", "Request", "Service"]

HTML = "text/html; charset=utf-8"
Service = Literal["www", "content", "git"]
Headers = Mapping[str, str]


@dataclass
class Request:
    """One request that reached the sandbox.

    Parameters
    ----------
    service : {'www', 'content', 'git'}
        Which server it reached: Dropbox's website, its download host, or the git host.
    method : str
        ``GET``, ``HEAD`` or ``POST``.
    path : str
        The path without its query, which may hold a key.
    headers : dict of str to str
        By lower-case name. Of ``authorization`` only the scheme is kept, of ``cookie`` only the names, of
        ``dropbox-api-arg`` only the path.
    status : int
        The answer's HTTP status; 0 while there is none yet.
    bytes_sent : int
        Bytes of the answer's body that were handed to the connection.
    """

    service: Service
    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    bytes_sent: int = 0


def _harmless(name: str, value: str) -> str:
    """Return what may be kept of a request's header."""
    if name == "authorization":
        return value.partition(" ")[0]
    if name == "cookie":
        return "; ".join(part.partition("=")[0].strip() for part in value.split(";"))
    if name == "dropbox-api-arg":
        try:
            arg = json.loads(value)
            return str(arg.get("commit", arg).get("path", ""))
        except (ValueError, AttributeError):
            return ""
    return value


class Exchange(BaseHTTPRequestHandler):
    """One connection: a request at a time, and the ways to answer it.

    Attributes
    ----------
    url_path : str
        The request's path, still quoted, without its query.
    query : dict of str to list of str
        The request's query.
    body : bytes
        The request's body, whether it came with a length or in chunks.
    """

    protocol_version = "HTTP/1.1"
    # Headers and body leave in separate writes; with Nagle's algorithm each answer would wait for an ACK.
    disable_nagle_algorithm = True

    def __init__(self, sock: socket.socket, address: tuple[str, int], host: LoopbackServer) -> None:
        self.host = host
        self.record = Request(host.service, "", "", {})
        super().__init__(sock, address, cast("BaseServer", host))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Stay silent: a stand-in writes to nobody's terminal."""

    def version_string(self) -> str:
        """Name no software version."""
        return "sandbox"

    def _dispatch(self) -> None:
        parts = urlsplit(self.path)
        self.url_path = parts.path
        self.query = parse_qs(parts.query, keep_blank_values=True)
        headers = {name.lower(): _harmless(name.lower(), value) for name, value in self.headers.items()}
        self.record = Request(self.host.service, self.command, parts.path, headers)
        # Before the answer: a client that has its answer finds its request here.
        self.host.log.append(self.record)
        try:
            # Read in any case: what is left of it would be taken for the next request.
            self.body = self._read_body()
            self.host.app(self)
        except ValueError as error:
            if self.record.status:
                raise
            self.close_connection = True
            self.reply(400, f"bad request: {error}\n", "text/plain")

    # The base class finds a method's handler by these names.
    do_GET = do_HEAD = do_POST = _dispatch  # noqa: N815

    def _read_body(self, limit: int = 160 << 20) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length") or 0)
            if length > limit:
                raise ValueError("request body too large")
            return self.rfile.read(length)
        body = bytearray()
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
            if len(body) > limit:
                raise ValueError("request body too large")
        while self.rfile.readline().strip():
            pass
        return bytes(body)

    def reply(
        self,
        status: int,
        body: bytes | str = b"",
        content_type: str = HTML,
        headers: Headers | None = None,
    ) -> None:
        """Answer with a body that is at hand."""
        content = body.encode() if isinstance(body, str) else body
        self.stream(status, {"Content-Type": content_type, **(headers or {})}, [content], length=len(content))

    def redirect(self, location: str, headers: Headers | None = None) -> None:
        """Answer with a 302 to `location`."""
        self.reply(302, headers={"Location": location, **(headers or {})})

    def stream(
        self,
        status: int,
        headers: Headers,
        pieces: Iterable[bytes],
        *,
        length: int | None = None,
        cut_after: int | None = None,
        pause: Callable[[], object] | None = None,
        pause_at: int = 0,
    ) -> None:
        """Answer with a body that is made while it is sent.

        Parameters
        ----------
        status : int
            HTTP status.
        headers : mapping of str to str
            Sent as they are.
        pieces : iterable of bytes
            The body. An OSError while it is made cuts the connection, since the status is out already.
        length : int, optional
            Bytes of the whole body. Without it the body is chunked.
        cut_after : int, optional
            Close the connection after so many bytes of the body, with no proper end.
        pause : callable, optional
            Called once, before byte `pause_at` of the body is sent (or the headers, for 0).
        pause_at : int
            See `pause`.
        """
        if pause and not pause_at:
            pause()
        chunked = length is None and self.request_version != "HTTP/1.0"
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"}
        self.record.status = status
        self.send_response(status)
        for header in {**headers, **(framing if length is None else {"Content-Length": str(length)})}.items():
            self.send_header(*header)
        self.end_headers()
        if self.command == "HEAD" or status in (204, 304):
            return
        sent = 0
        with contextlib.suppress(OSError):
            for piece in _split(pieces, pause_at, cut_after or 0):
                if pause and pause_at and sent == pause_at:
                    pause()
                if cut_after is not None and sent >= cut_after:
                    break
                # Counted first: whoever has read these bytes must find them counted.
                self.record.bytes_sent += len(piece)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                sent += len(piece)
            else:
                if cut_after is None:
                    self.wfile.write(b"0\r\n\r\n" if chunked else b"")
                    return
        self.close_connection = True


def _split(pieces: Iterable[bytes], *marks: int) -> Iterator[bytes]:
    """Yield `pieces`, none empty, cut anew so that each of `marks` (offsets in bytes) starts a piece."""
    position = 0
    for whole in pieces:
        rest = whole
        while rest:
            end = min((mark - position for mark in marks if position < mark), default=len(rest))
            yield rest[:end]
            position += len(rest[:end])
            rest = rest[end:]


App = Callable[[Exchange], None]


class LoopbackServer:
    """An HTTP server that nobody outside this machine can reach.

    Parameters
    ----------
    service : {'www', 'content', 'git'}
        Its name in the log.
    app : callable
        Answers one `Exchange`.
    log : list of Request
        Where requests are remembered.
    """

    def __init__(self, service: Service, app: App, log: list[Request]) -> None:
        self.service: Service = service
        self.app = app
        self.log = log
        self.stopping = threading.Event()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"sandbox-{service}", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, address = self._listener.accept()
            except OSError:
                # The client was gone before it was welcomed.
                continue
            if self.stopping.is_set():
                # It was woken; at Python's end no thread can be started any longer.
                sock.close()
                return
            name = f"sandbox-{self.service}-{address[1]}"
            self._open[sock] = threading.Thread(target=self._serve, args=(sock, address), name=name, daemon=True)
            self._open[sock].start()

    def _serve(self, sock: socket.socket, address: tuple[str, int]) -> None:
        # A client may hang up at any point; that is its own affair, and no traceback.
        with sock, contextlib.suppress(OSError):
            try:
                Exchange(sock, address, self)
            finally:
                self._open.pop(sock, None)
                sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Close every connection and wait until no thread is left."""
        self.stopping.set()
        # Wakes the thread that waits for the next client.
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()
        for sock, thread in list(self._open.items()):
            # Wakes a thread that waits for its client's next request.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)
