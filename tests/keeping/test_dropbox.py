"""A folder of a Dropbox as the place where files are kept, against the sandbox."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from trees import fill

from colab_magics.core import Settings
from colab_magics.core.dropbox import batch, credentials, files
from colab_magics.core.keeping import keep as keeping
from colab_magics.core.keeping import keeper as module
from colab_magics.core.keeping.destinations import ChangedError, Copy, Destination, Held, MovedError, open_destination
from colab_magics.core.keeping.dropbox import secrets_for
from colab_magics.core.keeping.keep import keep, kept, restore
from colab_magics.core.keeping.keeper import Keeper
from colab_magics.core.keeping.state import Config, State, process
from colab_magics.errors import TokenError, TransferError
from colab_magics.sandbox import Sandbox


@pytest.fixture
def dest(box: Sandbox, impatient: None, monkeypatch: pytest.MonkeyPatch) -> Destination:
    """``dropbox:/kept`` of the sandbox's account."""
    monkeypatch.setattr(credentials, "_access", {})
    monkeypatch.setattr(files, "PIECE", 4 << 20)
    box.log_in()
    return open_destination("dropbox:/kept", "key", secrets_for(Settings.load()))


@contextmanager
def held(path: Path, content: bytes | None = None) -> Iterator[Held]:
    if content is not None:
        path.write_bytes(content)
    with path.open("rb", buffering=0) as file:
        yield Held(str(path), file, os.fstat(file.fileno()))


def put(dest: Destination, name: str, content: bytes, replaces: Copy | None = None) -> Copy:
    with held(Path("local"), content) as local:
        return dest.put(name, local, replaces)


def test_a_file_goes_there_and_comes_back(box: Sandbox, dest: Destination) -> None:
    """Whole, verified, with its time; a listing says the same as the put."""
    assert dest.copies() == {}
    for name, content in {"a.txt": b"a", "sub/ü b.bin": bytes(9 << 20), "empty": b""}.items():
        copy = put(dest, name, content)
        assert (box.root / "dropbox" / "kept" / name).read_bytes() == content
        assert dest.copies()[name] == copy
        assert dest.holds(name, copy, "local")
        assert dest.confirmed(name, copy)
        back = Path(f"back-{len(content)}")
        dest.fetch(name, copy, str(back))
        assert back.read_bytes() == content
        assert int(back.stat().st_mtime) == int(Path("local").stat().st_mtime)
    assert not dest.holds("a.txt", dest.copies()["a.txt"], "local")


def test_a_newer_content_takes_the_place_of_the_one_that_was_put(box: Sandbox, dest: Destination) -> None:
    first = put(dest, "x", b"first")
    second = put(dest, "x", b"second", first)
    assert second.mark != first.mark
    assert list(dest.copies()) == ["x"]
    (box.root / "dropbox" / "kept" / "x").unlink()
    assert put(dest, "x", b"third", second).size == 5, "what somebody removed there is put again"


def test_what_somebody_else_changed_is_neither_replaced_nor_removed(box: Sandbox, dest: Destination) -> None:
    """Each of put, delete and fetch says so, and leaves it; so does a file that was there before."""
    place = box.root / "dropbox" / "kept" / "x"
    mine = put(dest, "x", b"mine")
    place.write_bytes(b"theirs")
    with pytest.raises(ChangedError):
        put(dest, "x", b"newer", mine)
    with pytest.raises(ChangedError):
        put(dest, "x", b"newer")
    with pytest.raises(ChangedError):
        dest.delete("x", mine)
    with pytest.raises(ChangedError):
        dest.fetch("x", mine, "back")
    assert place.read_bytes() == b"theirs"
    dest.delete("x", dest.copies()["x"])
    assert not place.exists()


def test_a_file_that_comes_in_small_reads_is_sent_in_whole_pieces(dest: Destination) -> None:
    """As from a file system that gives less at once than it is asked for."""
    with held(Path("local"), bytes(range(256)) * (9 << 12)) as local:

        class Slow(io.FileIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return super().read(min(size or 0, 3_000_000))

        local.file = Slow("local")  # type: ignore[assignment]  # the same, slower
        assert dest.put("x", local, None).size == 9 << 20
        local.file.close()


@pytest.mark.parametrize("size", [10, 9 << 20])
def test_a_file_that_moves_while_it_is_read_does_not_arrive(dest: Destination, size: int) -> None:
    """Neither one that is written to nor one that is replaced: nothing of it stands there."""
    with held(Path("moving"), bytes(size)) as local:
        with open("moving", "ab") as file:
            file.write(b"more")
        with pytest.raises(MovedError):
            dest.put("x", local, None)
    assert dest.copies() == {}


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 0},
        {"status": 503},
        {"status": 429, "error": "too_many_requests", "retry_after": 0},
        {"status": 409, "error": "path/too_many_write_operations", "retry_after": 0},
    ],
)
def test_what_passes_is_tried_again(box: Sandbox, dest: Destination, fault: dict[str, object]) -> None:
    for routes in ("files/upload", "files/list_folder", "files/delete_v2", "files/download"):
        box.fail_api(routes, **fault)  # type: ignore[arg-type]
    copy = put(dest, "x", b"content")
    dest.fetch("x", dest.copies()["x"], "back")
    dest.delete("x", copy)
    assert dest.copies() == {}


def test_a_download_that_is_cut_goes_on_where_it_was(box: Sandbox, dest: Destination) -> None:
    copy = put(dest, "x", bytes(range(256)) * 8000)
    box.fail_api("files/download", cut_after=1_000_000)
    box.clear_requests()
    dest.fetch("x", copy, "back")
    assert Path("back").read_bytes() == bytes(range(256)) * 8000
    sent = [request.bytes_sent for request in box.requests if request.path == "/2/files/download"]
    assert sum(sent) == copy.size


def test_a_content_that_arrives_damaged_is_not_taken(box: Sandbox, dest: Destination) -> None:
    copy = put(dest, "x", b"content")
    box.fail_api("files/download", body=b"CONTENT")
    with pytest.raises(ChangedError):
        dest.fetch("x", copy, "back")


def test_what_fails_is_an_oserror_that_says_why(box: Sandbox, dest: Destination) -> None:
    """A keeper calls again later: a full Dropbox, no network, and a login that was taken back too."""
    box.fail_api("files/upload", status=409, error="path/insufficient_space")
    with pytest.raises(TransferError, match="the Dropbox is full"):
        put(dest, "x", b"content")
    box.revoke_login()
    with pytest.raises(TransferError, match="log in again"):
        put(dest, "x", b"content")
    box.stop()
    with pytest.raises(TransferError, match="check the network"):
        dest.copies()


def test_without_a_login_it_is_said_before_anything_runs(box: Sandbox) -> None:
    with pytest.raises(TokenError, match="colab-magics login dropbox"):
        secrets_for(Settings.load())


def test_the_top_of_a_dropbox_is_a_place_too(box: Sandbox, dest: Destination) -> None:
    fill(box.folder("other"), {"a": "a"})
    top = open_destination("dropbox:/", "key", secrets_for(Settings.load()))
    put(top, "x", b"x")
    assert set(top.copies()) == {"x", "other/a"}
    assert "refresh_token" in json.loads(box.token_file.read_text())["dropbox"]


def test_a_keeper_brings_checkpoints_there_and_back(box: Sandbox) -> None:
    """keep, its process, the newest alone, a copy that somebody else changed, and restore, by the names people type."""
    box.log_in()
    work, there = Path("work"), box.root / "dropbox" / "exp1"
    fill(work, {"ckpt1.pt": "1", "ckpt2.pt": "2" * 9_000_000, "log/train.txt": "one"})
    for number, name in enumerate(("ckpt1.pt", "ckpt2.pt")):
        os.utime(work / name, (1_600_000_000 + number, 1_600_000_000 + number))
    try:
        keep(work, "dropbox:exp1/", last=[(1, "ckpt*.pt")])
        [status] = kept(work, now=True)
        assert (status.pending, status.failed) == ({}, {})
        assert sorted(path.name for path in there.rglob("*") if path.is_file()) == ["ckpt2.pt", "train.txt"]
        (there / "log" / "train.txt").write_text("theirs")
        (work / "log" / "train.txt").write_text("two")
        [status] = kept(work, now=True)
        assert status.beside
        texts = sorted(path.read_text() for path in (there / "log").iterdir())
        assert texts == ["theirs", "two"], "neither is lost"
    finally:
        kept(work, stop=True)
    restored = restore("dropbox:/exp1", "fresh")
    assert (Path("fresh") / "ckpt2.pt").read_text() == "2" * 9_000_000
    assert "log/train.txt" in restored.added


class TestTogether:
    """Small files take their places in one call for many."""

    @pytest.fixture
    def many(self, dest: Destination, monkeypatch: pytest.MonkeyPatch) -> Keeper:
        """A keeper of 20 small files and one larger, that pushes when it is told to."""
        monkeypatch.setattr(module, "_STILL", 0.001)
        Path("work").mkdir()
        fill(
            Path("work"),
            {f"{number}.txt": f"text {number}" for number in range(20)} | {"empty": "", "big": "b" * (5 << 20)},
        )
        state = State.of("work")
        state.write_config(Config(os.path.abspath("work"), "dropbox:/kept", "dropbox:/kept", watch=[process()]))
        return Keeper(state, secrets_for(Settings.load()))

    def calls(self, box: Sandbox) -> dict[str, int]:
        made = Counter(request.path.removeprefix("/2/files/") for request in box.requests)
        box.clear_requests()
        return made

    def test_one_call_puts_many(self, box: Sandbox, many: Keeper) -> None:
        """Each is as it would be alone: verified, journaled, with its revision, so that the next push replaces it."""
        box.clear_requests()
        many.push()
        calls = self.calls(box)
        assert (calls["upload_session/finish_batch_v2"], calls["upload_session/finish"], calls["upload"]) == (1, 1, 0)
        assert many.progress.failed == many.progress.pending == {}
        for number in range(10):
            Path(f"work/{number}.txt").write_text("newer")
        many.push()
        assert self.calls(box)["upload_session/finish_batch_v2"] == 1
        there = {path.name: path.read_text() for path in (box.root / "dropbox" / "kept").iterdir()}
        assert there == {path.name: path.read_text() for path in Path("work").iterdir()}
        many.push()
        assert not set(self.calls(box)) - {"list_folder", "get_metadata"}

    def test_what_is_unusual_goes_its_own_way(
        self, box: Sandbox, many: Keeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What another changed is kept beside, what moves is put later, what is cut short not at all."""
        many.push()
        there = box.root / "dropbox" / "kept"
        (there / "1.txt").write_text("theirs")
        for number in range(4):
            Path(f"work/{number}.txt").write_text("newer")
        Path("work/3.txt").write_text("")
        sent, changes = batch.upload_small, iter(["newest"])

        def change(*args: Any) -> Any:
            if new := next(changes, None):
                Path("work/2.txt").write_text(new)
            return sent(*args)

        monkeypatch.setattr(batch, "upload_small", change)
        many.push()
        many.push()
        assert (there / "0.txt").read_text() == "newer"
        assert sorted(path.read_text() for path in there.glob("1*(kept*")) == ["newer"]
        assert ((there / "1.txt").read_text(), (there / "2.txt").read_text()) == ("theirs", "newest")
        assert (there / "3.txt").read_text() == "text 3"
        assert "cut short" in many.progress.pending["3.txt"]

    def test_an_answer_that_is_lost_is_asked_for_again(self, box: Sandbox, many: Keeper) -> None:
        """What stands there by then is known to be ours; what one file is refused is that file's alone."""
        box.fail_api("files/upload_session/finish_batch_v2", status=503, after_work=True)
        box.fail_api("files/upload_session/start", status=409, error="path/insufficient_space", skip=3)
        many.push()
        assert len(list((box.root / "dropbox" / "kept").iterdir())) == 22
        assert many.progress.failed == {}

    def test_while_another_batch_is_committed_files_go_there_one_by_one(self, box: Sandbox, many: Keeper) -> None:
        """Dropbox takes one at a time, and refuses each file of a second."""
        box.clear_requests()
        with box._dropbox.api._committing:
            many.push()
        assert self.calls(box)["upload"] == 21
        assert many.progress.failed == {}
        assert len(list((box.root / "dropbox" / "kept").iterdir())) == 22

    def test_a_name_that_is_no_text_is_refused_by_itself(self, box: Sandbox, many: Keeper) -> None:
        """Dropbox takes none; the others are there."""
        Path("work/\udcff.txt").write_text("x")
        many.push()
        assert list(many.progress.failed) == ["\udcff.txt"]
        assert "is no text, which Dropbox does not take; rename it" in many.progress.failed["\udcff.txt"]
        assert len(list((box.root / "dropbox" / "kept").iterdir())) == 22
        many.write()
        assert all(line.isprintable() for line in keeping._status(many.state, many.config).problems())
