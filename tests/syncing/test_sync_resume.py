"""A run that was cut short, and what the next one makes of what it has left."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from children import start_sync
from servers import Answer, serving
from zips import Entry, zip_of

from colab_magics.core.http import client, partial
from colab_magics.core.syncing.sync import sync
from colab_magics.errors import ArchiveError, TransferError
from colab_magics.sandbox import Sandbox

CONTENT = os.urandom(3_000_000)
CUT = 2_000_000  # bytes after which the connection breaks


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run tries once: what a second try does within one is another matter."""
    monkeypatch.setattr(client, "_TRIES", 1)


def cut_short(box: Sandbox, link: str, dest: str = "data.bin", **options: object) -> None:
    """Run a sync whose connection breaks in the midst."""
    box.fail(link, cut_after=CUT, times=1)
    with pytest.raises(TransferError):
        sync(link, dest, **options)  # type: ignore[arg-type]
    assert not Path(dest).exists()


def ranges(box: Sandbox) -> list[str | None]:
    return [request.headers.get("range") for request in box.requests if request.service == "content"]


def test_the_next_run_fetches_the_rest_only(box: Sandbox) -> None:
    """What had come is proved to be of the same content by its validator; in the end nothing is left beside it."""
    link = box.file_link("data.bin", CONTENT)
    cut_short(box, link)
    result = sync(link, "data.bin", sha256=hashlib.sha256(CONTENT).hexdigest())
    assert Path("data.bin").read_bytes() == CONTENT
    assert ranges(box)[-1] == f"bytes={CUT}-"
    assert result.bytes_received == len(CONTENT) - CUT
    assert os.listdir(".colab_magics") == ["manifest.json"]


def test_a_content_that_changed_is_fetched_whole(box: Sandbox) -> None:
    """Two halves of two versions are never put together."""
    link = box.file_link("data.bin", CONTENT)
    cut_short(box, link)
    (box.root / "dropbox" / "data.bin").write_bytes(CONTENT[::-1])
    assert sync(link, "data.bin").bytes_received == len(CONTENT)
    assert Path("data.bin").read_bytes() == CONTENT[::-1]


def test_a_part_of_another_link_is_not_taken_up(box: Sandbox) -> None:
    """Nor one that ``--force`` says to forget."""
    link = box.file_link("data.bin", CONTENT)
    cut_short(box, link)
    other = box.file_link("other.bin", CONTENT[::-1])
    assert sync(other, "other.bin").bytes_received == len(CONTENT)
    assert Path("other.bin").read_bytes() == CONTENT[::-1]
    cut_short(box, link)
    assert sync(link, "data.bin", force=True).bytes_received == len(CONTENT)
    assert Path("data.bin").read_bytes() == CONTENT


def test_what_is_whole_but_for_its_place_is_not_fetched_again(box: Sandbox) -> None:
    """A run can die between the last byte and the move; no server sends a rest of nothing, so none is asked for."""
    link = box.file_link("data.bin", CONTENT)
    cut_short(box, link)
    part = Path(".colab_magics/work/download")
    part.write_bytes(CONTENT)
    with part.with_suffix(".json").open("a") as note:
        note.write(f"0 {len(CONTENT)} {zlib.crc32(CONTENT)}\n")
    assert sync(link, "data.bin").bytes_received == 0
    assert Path("data.bin").read_bytes() == CONTENT


def test_what_is_of_no_use_is_not_left(box: Sandbox) -> None:
    """A content that proved wrong, a server without validators, a small part: then all is as it was."""
    with pytest.raises(ArchiveError):
        sync(box.file_link("wrong.bin", CONTENT), "wrong.bin", sha256="0" * 64)
    with serving(Answer(200, CONTENT, cut=CUT)) as (base, _), pytest.raises(TransferError):
        sync(f"{base}/nameless.bin", "nameless.bin")
    small = box.file_link("small.bin", CONTENT[:5000])
    box.fail(small, cut_after=100, times=1)
    with pytest.raises(TransferError):
        sync(small, "small.bin")
    assert os.listdir() == []


def test_an_archive_for_a_new_folder_is_resumed_too(box: Sandbox) -> None:
    """The part then lies beside DEST, which does not exist yet."""
    data = zip_of(Entry(b"a.bin", CONTENT, method=0))
    link = box.file_link("data.zip", data)
    cut_short(box, link, "data", unpack=True)
    result = sync(link, "data", unpack=True)
    assert result.bytes_received == len(data) - CUT
    assert Path("data/a.bin").read_bytes() == CONTENT
    assert os.listdir() == ["data"]


class _Held(threading.Event):
    """Holds the first connection of a download back, and tells when others have come to help it."""

    def __init__(self, box: Sandbox) -> None:
        super().__init__()
        self.helped, self._box = threading.Event(), box

    def wait(self, timeout: float | None = None) -> bool:
        if len([each for each in ranges(self._box) if each]) >= 2:
            self.helped.set()
        return super().wait(timeout)


def test_an_interrupt_ends_all_connections_of_a_file(box: Sandbox) -> None:
    """Although one of them hangs: one line says what is kept, and the next run fetches only what is missing."""
    content = os.urandom(40 << 20)
    link, held = box.file_link("large.bin", content), _Held(box)
    box.fail(link, delay=held, delay_at=6 << 20, times=1)
    command = [sys.executable, "-m", "colab_magics", "sync", link, "large.bin"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert held.helped.wait(60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert not held.is_set(), "it did not wait for the answer"
    held.set()
    assert process.returncode == 130
    [line] = [line for line in said.splitlines() if "interrupted" in line]
    assert "of it are kept" in line
    assert link.partition("rlkey=")[2][:10] not in said
    assert sync(link, "large.bin").bytes_received < 34 << 20
    assert Path("large.bin").read_bytes() == content


def test_a_killed_run_is_resumed(box: Sandbox) -> None:
    """SIGKILL leaves no time to tidy up; what has reached the disk counts."""
    link = box.file_link("data.bin", CONTENT)
    reached = threading.Event()
    box.fail(link, delay=reached, delay_at=CUT)
    process = start_sync({"link": link, "dest": str(Path("data.bin").resolve())})
    part = Path(".colab_magics/work/download")
    while not (part.exists() and part.stat().st_size > 1_500_000):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    reached.set()
    there = partial._there(part)
    assert there > 1_000_000
    box.heal(link)
    assert sync(link, "data.bin").bytes_received == len(CONTENT) - there
    assert Path("data.bin").read_bytes() == CONTENT
