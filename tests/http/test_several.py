"""Large contents over several connections, from servers that know ranges, that know none, and that want no more."""

from __future__ import annotations

import hashlib
import random
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from colab_magics.core.common import cancellation
from colab_magics.core.http import client, links, partial, several
from colab_magics.core.http.client import Client, Received
from colab_magics.core.http.partial import PART
from colab_magics.errors import TransferError

MB = 1 << 20
CONTENT = random.Random(7).randbytes(40 * MB)
HELD = 5 * MB  # where the first answer waits


@pytest.fixture(autouse=True)
def eager(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second connection is tried at once, and what it brings is not measured."""
    for name, value in {"_LOOK": 0.0, "_WORTH": -1.0, "_GAIN": -1.0}.items():
        monkeypatch.setattr(several, name, value)


class Server:
    """Sends CONTENT, or ranges of it; the first answer waits at HELD until `go`, which `enough` sets.

    `odd` says how the answer to a request differs: by its number, from 0, and the first byte that is asked for.
    """

    def __init__(self, odd: Callable[[int, int], dict[str, object] | None], enough: int) -> None:
        self.odd, self.enough, self.go = odd, enough, threading.Event()
        self.asked: list[str | None] = []
        self.sent, self.at_once, self.most, self.lock = 0, 0, 0, threading.Lock()
        self.address = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        with self.lock:
            number = len(self.asked)
            self.asked.append(asked)
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), int(last or len(CONTENT) - 1) + 1
        headers = {"ETag": '"1"', "Content-Range": f"bytes {start}-{end - 1}/{len(CONTENT)}"}
        given = {"status": 206 if asked else 200, "cut": len(CONTENT), **headers, **(self.odd(number, start) or {})}
        status, cut = given.pop("status"), given.pop("cut")
        assert isinstance(status, int)
        assert isinstance(cut, int)
        body = memoryview(CONTENT)[start:end] if status == 206 else memoryview(CONTENT if status == 200 else b"")
        handler.send_response(status)
        for name, value in {"Content-Length": len(body), **given}.items():
            if status == 206 or name != "Content-Range":
                handler.send_header(name, str(value))
        handler.end_headers()
        if number + 1 >= self.enough:
            self.go.set()
        for at in range(0, min(len(body), cut), MB // 4):
            if number == 0 and at == HELD:
                self.go.wait(30)
            handler.wfile.write(body[at : min(at + MB // 4, cut)])
            self.sent += len(body[at : min(at + MB // 4, cut)])
        handler.close_connection = True


@contextmanager
def serving(
    odd: Callable[[int, int], dict[str, object] | None] = lambda _number, _start: None, enough: int = 4
) -> Iterator[Server]:
    server = Server(odd, enough)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with server.lock:
                server.at_once += 1
                server.most = max(server.most, server.at_once)
            try:
                server.answer(self)
            except OSError:
                pass  # the client has hung up
            finally:
                with server.lock:
                    server.at_once -= 1

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.address = f"http://127.0.0.1:{http.server_address[1]}/x.bin"
    try:
        yield server
    finally:
        server.go.set()
        http.shutdown()
        thread.join()
        http.server_close()


def download(address: str, into: Path) -> Received:
    with Client() as made, made.open(links.parse(address)) as response:
        return made.download(response, into)


def check(received: Received, into: Path) -> None:
    assert hashlib.sha256(into.read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert (received.size, received.crc) == (len(CONTENT), zlib.crc32(CONTENT))


def test_a_large_file_comes_over_several_connections(tmp_path: Path) -> None:
    """Each byte once, although the first connection hangs for long; never more than eight at once."""
    with serving() as server:
        received = download(server.address, tmp_path / PART)
        check(received, tmp_path / PART)
        assert received.transferred == len(CONTENT)
        assert server.asked[0] is None
        assert len(server.asked) >= 4
        assert server.most <= several.AT_ONCE


@pytest.mark.parametrize(
    "odd",
    [
        {"status": 200},
        {"Content-Range": "bytes 0-9/10"},
        {"ETag": '"2"'},
        {"status": 429},
        {"status": 503},
        {"status": 403},
        {"status": 404},
        {"Content-Type": "text/html"},
    ],
)
def test_what_wants_no_second_connection_is_left_with_one(tmp_path: Path, odd: dict[str, object]) -> None:
    """No ranges, other content, too many requests, or a page: the first goes on, and nobody asks again."""
    with serving(lambda number, _start: odd if number else None, enough=2) as server:
        received = download(server.address, tmp_path / PART)
        check(received, tmp_path / PART)
        assert received.transferred == len(CONTENT)
        assert len(server.asked) == 2


def test_all_connections_wait_when_the_server_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ``Retry-After`` nobody asks for anything before that time."""
    slept: list[float] = []
    monkeypatch.setattr(cancellation, "sleep", slept.append)

    def odd(number: int, _start: int) -> dict[str, object] | None:
        if number == 0:
            return {"cut": 6 * MB}
        return {"status": 429, "Retry-After": "17"} if number == 1 else None

    with serving(odd, enough=2) as server:
        received = download(server.address, tmp_path / PART)
        check(received, tmp_path / PART)
    assert any(16 < pause <= 17 for pause in slept)


def test_a_content_that_changed_starts_over(tmp_path: Path) -> None:
    """Of two versions nothing is put together, whatever connections had brought."""

    def odd(number: int, _start: int) -> dict[str, object] | None:
        if number < 4:
            return {"cut": 6 * MB, "ETag": '"0"'}
        return {"status": 200}

    with serving(odd, enough=3) as server:
        received = download(server.address, tmp_path / PART)
        check(received, tmp_path / PART)
        assert received.answer.etag == '"1"'
        assert received.transferred > len(CONTENT)


@pytest.mark.parametrize("damaged", [False, True])
def test_each_stretch_is_gone_on_with_by_the_next_run(
    tmp_path: Path, damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on the disk is not fetched again, unless it is not what came."""
    monkeypatch.setattr(client, "_TRIES", 1)
    with serving(lambda _number, _start: {"cut": 6 * MB}) as server:
        with pytest.raises(TransferError):
            download(server.address, tmp_path / PART)
        there = partial._there(tmp_path / PART)
        assert there > 6 * MB
        ends = dict(map(int, line.split()[:2]) for line in (tmp_path / "download.json").read_text().splitlines()[1:])
        if damaged:
            with (tmp_path / PART).open("r+b") as file:
                file.write(b"damaged")
        server.odd = lambda _number, _start: None
        received = download(server.address, tmp_path / PART)
        check(received, tmp_path / PART)
    assert received.transferred == len(CONTENT) - there + (ends[0] if damaged else 0)
