"""Unpacking while the bytes arrive, in this process and in helpers, against other programs' results."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import threading
import zipfile
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import pytest
from children import start_sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import Answer, serving
from zips import Entry, zip_of

from colab_magics.core.archives import unpacker
from colab_magics.core.archives.stream import helper, receiver
from colab_magics.core.common import disk
from colab_magics.core.http import client
from colab_magics.core.syncing.sync import sync
from colab_magics.errors import ArchiveError, TransferError
from colab_magics.sandbox import Sandbox


@pytest.fixture(params=["usual", "small blocks"], autouse=True)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much is received at a time: as usual, or so little that members are cut often and blocks waited for."""
    monkeypatch.setattr(client, "_BACKOFF", 0.0)
    if request.param == "small blocks":
        monkeypatch.setattr(receiver, "_BLOCK", 1 << 16)
        monkeypatch.setattr(receiver, "_BLOCKS", 2)


@pytest.fixture(params=["isal", "zlib"])
def inflating(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What inflates, as far as this process does."""
    monkeypatch.setattr(
        unpacker, "_fast", pytest.importorskip("isal.isal_zlib") if request.param == "isal" else __import__("zlib")
    )


def read(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".colab_magics"):
            found[name] = path.read_bytes()
    return found


def mixture(seed: int, count: int = 300) -> dict[str, bytes]:
    """Return files of many sizes, empty ones and some of several blocks among them."""
    chance = random.Random(seed)
    files = {}
    for number in range(count):
        size = chance.choice([0, 1, 100, 5_000, 60_000])
        noise = chance.randbytes(size)
        files[f"d{number % 7}/ü{number}.bin"] = noise if number % 2 else (noise[:50] * (size // 50 + 1))[:size]
    return files | {"big.bin": chance.randbytes(3_000_000), "deep/er/zeros.bin": bytes(9_000_000)}


def share(box: Sandbox, files: dict[str, bytes], **options: str) -> str:
    folder = box.folder("data")
    shutil.rmtree(folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return box.folder_link(folder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{}, {"method": "stored"}, {"signature": False}, {"method": "stored", "signature": False}], ids=str
)
def test_all_of_a_folder_arrives(box: Sandbox, options: dict[str, str]) -> None:
    """Whoever unpacks, and in whichever form; the zip itself never lies on the disk."""
    files = mixture(1)
    link = share(box, files, **options)
    result = sync(link, "data")
    assert read(Path("data")) == files
    assert len(result.added) == len(files)
    assert os.listdir() == ["data"]
    assert [request.service for request in box.requests].count("content") == 1
    source = box.folder("data") / "big.bin"
    assert abs((Path("data") / "big.bin").stat().st_mtime - source.stat().st_mtime) <= 2
    assert sync(link, "data").status == "up-to-date"
    (box.folder("data") / "d1" / "ü1.bin").write_bytes(b"changed")
    (box.folder("data") / "big.bin").write_bytes(b"small now")
    assert sorted(sync(link, "data").updated) == ["big.bin", "d1/ü1.bin"]


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("kind", ["content", "directory", "name", "cut", "tail"])
def test_damage_changes_nothing(box: Sandbox, exists: bool, kind: str) -> None:
    """Wherever in a large zip a byte is wrong: DEST is as it was, and nothing is left beside it."""
    link = share(box, {"a.txt": b"a"})
    if exists:
        sync(link, "data")
    before = sorted(Path().rglob("*"))
    chance = random.Random(kind)
    entries = [Entry(b"f%03d" % n, chance.randbytes(9000), method=n % 2 * 8) for n in range(200)]
    entries.append(Entry(b"large", chance.randbytes(2_000_000)))
    data = bytearray(zip_of(*entries))
    places = {"content": 300_000, "name": data.rfind(b"PK\x01\x02") + 47}
    if kind in ("cut", "tail"):
        del data[-1_000_000 if kind == "cut" else -10 :]
    else:
        data[places.get(kind, data.rfind(b"PK\x01\x02") + 17)] ^= 1
    box.fail(link, body=bytes(data))
    with pytest.raises(ArchiveError):
        sync(link, "data")
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("inflating")
def test_a_descriptor_that_contradicts_the_content_is_damage(tmp_path: Path) -> None:
    """It is said at once: nobody waits for the rest of the download."""
    data = bytearray(zip_of(*(Entry(b"f%d" % n, bytes(range(n + 200))) for n in range(20))))
    data[data.find(b"PK\x07\x08") + 5] ^= 1
    with (
        serving(Answer(200, bytes(data))) as (base, _),
        pytest.raises(ArchiveError, match=r"'f0' is damaged \(its content has another checksum\)"),
    ):
        sync(f"{base}/x.zip", tmp_path / "data")


def test_a_connection_that_breaks_is_begun_anew(box: Sandbox) -> None:
    """What was unpacked of the broken try is forgotten; in the end all is there, or nothing is."""
    files = mixture(2, 50)
    link = share(box, files)
    box.fail(link, cut_after=2_000_000, times=2)
    sync(link, "data")
    assert read(Path("data")) == files
    box.fail(link, cut_after=2_000_000)
    with pytest.raises(TransferError, match="run it again"):
        sync(link, "other")
    assert os.listdir() == ["data"]


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(b"a", b"1"), Entry(b"a", b"2")],
        [Entry(b"a", b"1"), Entry(b"./a", b"2")],
        [Entry(b"x", b"x"), Entry(b"l", b"x", mode=stat.S_IFLNK | 0o777)],
        [
            Entry(
                b"packed by bzip2",
                __import__("bz2").compress(b"b" * 99),
                method=12,
                size=99,
                crc=__import__("zlib").crc32(b"b" * 99),
            )
        ],
        [Entry(b"d", mode=stat.S_IFDIR | 0o755), Entry(b"d/x", b"x")],
        [Entry(b"run", b"#!/bin/sh", mode=stat.S_IFREG | 0o755)],
    ],
    ids=range(6),
)
def test_what_only_the_directory_tells_is_right_too(tmp_path: Path, entries: list[Entry]) -> None:
    """Duplicates, symlinks, rare methods and rights end as Python's reader and unzip have them."""
    with serving(Answer(200, zip_of(*entries))) as (base, _):
        sync(f"{base}/data.zip", tmp_path / "data")
    found = {name: content for name, content in read(tmp_path / "data").items() if name != "l"}
    assert set(found) == {Path(entry.name.decode()).as_posix() for entry in entries} - {"d", "l"}
    assert found.get("a", b"2") == b"2"
    if (tmp_path / "data" / "run").exists():
        assert os.access(tmp_path / "data" / "run", os.X_OK)
    if (tmp_path / "data" / "x").exists():
        assert os.readlink(tmp_path / "data" / "l") == "x"


names = st.text("abcü_ -", min_size=1, max_size=4).filter(lambda name: name.strip() == name)
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=400), max_size=10)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(trees, st.data())
def test_other_programs_agree(tmp_path: Path, files: dict[str, bytes], data: st.DataObject) -> None:
    """Any tree in any form: what lies in DEST is what zipfile, unzip and bsdtar make of the same zip."""
    parents = {name[:at] for name in files for at, mark in enumerate(name) if mark == "/"}
    files = {name: content for name, content in files.items() if name not in parents}
    forms = [(0, "signed"), (0, None), (8, "signed"), (8, "bare"), (8, None)]
    drawn = [data.draw(st.sampled_from(forms)) for _ in files]
    entries = [
        Entry(name.encode(), content, method=method, descriptor=descriptor)
        for (name, content), (method, descriptor) in zip(files.items(), drawn, strict=True)
    ]
    room = tmp_path / "room"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    (room / "x.zip").write_bytes(zip_of(*entries))
    with serving(Answer(200, zip_of(*entries))) as (base, _):
        sync(f"{base}/x.zip", room / "ours")
    with zipfile.ZipFile(room / "x.zip") as oracle:
        oracle.extractall(room / "zipfile")
    assert read(room / "ours") == read(room / "zipfile") == files
    commands = {
        "unzip": ["unzip", "-q", "x.zip", "-d", "unzip"],
        "bsdtar": ["bsdtar", "-x", "-C", "bsdtar", "-f", "x.zip"],
    }
    for program, command in commands.items():
        if shutil.which(program) and files:
            (room / program).mkdir()
            subprocess.run(command, cwd=room, check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]})
            assert read(room / program) == files


def test_killed_at_any_time_with_helpers(box: Sandbox, tmp_path: Path) -> None:
    """SIGKILL in the midst of a large download: the helpers end too, and the next run completes."""
    chance = random.Random(3)
    files = {f"d{number % 5}/{number}": chance.randbytes(50_000) for number in range(600)}
    link = share(box, files, method="stored")
    dest = tmp_path / "room" / "data"
    for megabytes in (9, 14, 20, 29):
        reached = threading.Event()
        box.clear_requests()
        box.fail(link, delay=reached, delay_at=megabytes * 1_000_000)
        process = start_sync({"link": link, "dest": str(dest)})
        while not any(request.bytes_sent >= megabytes * 1_000_000 for request in box.requests):
            assert process.poll() is None
            threading.Event().wait(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        reached.set()
        assert not dest.exists()
    box.heal(link)
    assert len(sync(link, dest).added) == 600
    assert read(dest) == files
    assert os.listdir(tmp_path / "room") == ["data"]


def test_a_helper_that_ends_is_told(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is killed, as for want of memory, is one line; DEST is as it was, and the next run completes."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    files = mixture(4, 20)
    link = share(box, files)
    with monkeypatch.context() as patch:
        begun = "from multiprocessing.connection import Connection; Connection({1}[0]).recv_bytes()  # {0}"
        patch.setattr(helper, "_START", begun)  # and there it ends
        with pytest.raises(TransferError, match="a process that unpacks was ended from outside; run it again"):
            sync(link, "data")
    assert os.listdir() == []
    sync(link, "data")
    assert read(Path("data")) == files


def test_a_helper_that_cannot_begin_is_not_needed(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is unpacked without it, and no process or connection of it is left."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(helper, "Pipe", broken_pipe)
    files = mixture(4, 20)
    sync(share(box, files), "data")
    assert read(Path("data")) == files


def broken_pipe() -> tuple[Connection, Connection]:
    """Return a connection whose other end is gone by the time it is used, and a stand-in for that."""
    mine, theirs = Pipe()
    theirs.close()
    return mine, Pipe()[1]


def test_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A content that grows beyond all measure is refused, and the setting is named that allows it."""
    monkeypatch.setattr(disk, "_SUSPICIOUS", 1 << 20)
    data = zip_of(Entry(b"zeros", bytes(30_000_000)))
    with serving(Answer(200, data)) as (base, _):
        with pytest.raises(ArchiveError, match=r"made to fill disks.*COLAB_MAGICS_MAX_RATIO"):
            sync(f"{base}/x.zip", tmp_path / "data")
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setenv("COLAB_MAGICS_MAX_RATIO", "2000")
        assert sync(f"{base}/x.zip", tmp_path / "data").added == ["zeros"]


def test_a_folder_by_its_mode_alone_is_no_file(tmp_path: Path) -> None:
    """A folder is one also where only its mode in the directory says so."""
    data = zip_of(Entry(b"a", b"a"), Entry(b"d", b"", mode=stat.S_IFDIR | 0o755))
    with serving(Answer(200, data)) as (base, _):
        sync(f"{base}/x.zip", tmp_path / "data")
    assert (tmp_path / "data" / "d").is_dir()
