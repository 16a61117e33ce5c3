"""Archives that are made to fill disks or memory, to mislead, or are damaged: one line each, and one fetch."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import re
import stat
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from servers import Answer, serving
from zips import Entry, tar_of, zip_of

from colab_magics.core.common import disk
from colab_magics.core.syncing.sync import sync
from colab_magics.errors import ArchiveError, ColabMagicsError, TransferError
from colab_magics.sandbox import Sandbox

RESUMABLE = {"ETag": '"1"', "Accept-Ranges": "bytes"}
ZEROS = zlib.compressobj(9, zlib.DEFLATED, -15)
ZEROS = ZEROS.compress(bytes(1 << 22)) + ZEROS.flush(zlib.Z_FULL_FLUSH)  # can be repeated without end
OPEN = zip_of(Entry(b"zeros"), directory=False).split(b"PK\x07\x08")[0][:-2]  # a header, and no content yet


def refused(data: bytes, dest: Path, headers: dict[str, str] | None = None, **options: object) -> str:
    """Sync an archive that must be refused; return why. It was fetched once, and DEST is as it was."""
    before = sorted(dest.rglob("*"))
    options = {"unpack": True, **options}
    with serving(Answer(200, data, headers or {})) as (base, seen):
        with pytest.raises(ColabMagicsError) as caught:
            sync(f"{base}/x.zip", dest, **options)  # type: ignore[arg-type]
        assert len(seen) == 1
    assert sorted(dest.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestLimits:
    @pytest.mark.parametrize("stored", [False, True])
    def test_an_endless_zip_is_stopped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool) -> None:
        """As soon as the limit is passed, whether that is the ratio or the room on the disk."""
        monkeypatch.setattr(disk, "_SUSPICIOUS", 1 << 26)
        if stored:
            monkeypatch.setenv("COLAB_MAGICS_MIN_FREE", str(disk._free(tmp_path) - (1 << 26)))
        header = zip_of(Entry(b"zeros", method=0), directory=False)[:35] if stored else OPEN
        answer = Answer(200, header, {"Content-Type": "application/zip"}, endless=bytes(1 << 16) if stored else ZEROS)
        kind, words = (TransferError, "is full") if stored else (ArchiveError, "made to fill disks")
        with serving(answer) as (base, seen), pytest.raises(kind, match=words):
            sync(f"{base}/x.zip", tmp_path / "data")
        assert len(seen) == 1
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("form", ["zip", "overlapping", "tar.gz", "tar.bz2", "tar.xz", "links", "sparse", "behind"])
    def test_a_file_that_grows_beyond_measure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
        """Every kind of archive is asked for on the same budget, when it is unpacked from a file too."""
        monkeypatch.setattr(disk, "_SUSPICIOUS", 1 << 20)
        monkeypatch.setenv("COLAB_MAGICS_MAX_RATIO", "10")
        assert "made to fill disks" in refused(bomb(form), tmp_path / "data", RESUMABLE)
        assert os.listdir(tmp_path) == []

    def test_what_was_free_is_said_and_not_what_is_free_afterwards(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The message about a full disk tells what was true when it was full."""

        def full() -> None:
            try:
                with disk.free_room_noted(tmp_path):
                    raise OSError(28, "No space left on device")
            finally:
                monkeypatch.setattr(disk, "_free", lambda _: 10**9)  # what was written is cleared away

        monkeypatch.setattr(disk, "_free", lambda _: 7)
        with (
            pytest.raises(TransferError, match=r"the disk of 'p' is full \(7 B left\)"),
            disk.disk_errors(tmp_path, "p"),
        ):
            full()


def bomb(form: str) -> bytes:
    zeros = bytes(3 << 20)
    if form == "zip":
        return zip_of(Entry(b"a", zeros))
    if form == "overlapping":
        data = bytearray(zip_of(Entry(b"a", zeros), Entry(b"b", zeros)))
        at = data.rfind(b"PK\x01\x02")
        data[at + 42 : at + 46] = bytes(4)
        return bytes(data)
    if form == "links":
        link = tarfile.TarInfo("b")
        link.type, link.linkname = tarfile.LNKTYPE, "a"
        others = []
        for number in range(40):
            other = tarfile.TarInfo(str(number))
            other.type, other.linkname = tarfile.LNKTYPE, "a"
            others.append(other)
        return tar_of(("a", random.Random(0).randbytes(1 << 19)), *others)
    if form == "sparse":
        return sparse(1 << 40)
    if form == "behind":
        return gzip.compress(tar_of(("a", b"a")) + zeros)
    packers = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    return packers[form[4:]](tar_of(("a", zeros)))


def sparse(size: int) -> bytes:
    """Return a tar with a GNU sparse member that claims `size` bytes and has none."""
    info = tarfile.TarInfo("sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:398] = block[398:410] = b"00000000000\0"
    block[483:495] = b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


class TestHeaders:
    @pytest.mark.parametrize("kind", ["pax", "name", "holes"])
    def test_memory_stays_flat(self, tmp_path: Path, kind: str) -> None:
        """A header that claims, and has, 1 GB is refused before it is read."""
        if kind == "holes":
            info = tarfile.TarInfo("a")
            info.pax_headers = {
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": "a",
                "GNU.sparse.realsize": "1",
            }
            head, block = info.tobuf(tarfile.PAX_FORMAT) + b"1000000000\n", b"1\n" * (1 << 19)
        else:
            info = tarfile.TarInfo("x")
            info.type, info.size = (tarfile.XHDTYPE if kind == "pax" else tarfile.GNUTYPE_LONGNAME), 1 << 30
            head, block = info.tobuf(tarfile.USTAR_FORMAT), bytes(1 << 20)
        path = tmp_path / "x.tar.gz"
        with gzip.open(path, "wb", 1) as file:
            file.write(head)
            for _ in range(1 << 10 if kind != "holes" else 64):
                file.write(block)
        program = (
            "import resource, sys; from pathlib import Path\n"
            "from colab_magics.core.archives.members import Everything, Target\n"
            "from colab_magics.core.archives.opening import unpack\n"
            "from colab_magics.core.common.disk import Budget\n"
            "import colab_magics.core.archives.tars\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
            "try: unpack(Path(sys.argv[1]), Target(Path(sys.argv[2]), Budget(Path('.'), 'x'), Everything()))\n"
            "except Exception as error: print(type(error).__name__, error)\n"
            "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(path), str(tmp_path / "tree")],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        error, grown = done.stdout.splitlines()
        assert error.startswith("ArchiveError")
        assert "has a header of more than 1 MB" in error
        assert int(grown) < 40

    @pytest.mark.parametrize(
        ("at", "form", "value"),
        [(8, "H", 9), (10, "H", 9), (12, "L", 1 << 31), (16, "L", 1 << 31), (12, "L", 0), (16, "L", 7)],
    )
    def test_a_directory_that_claims_what_cannot_be(self, tmp_path: Path, at: int, form: str, value: int) -> None:
        """Counts, lengths and offsets are checked before anything is made of them."""
        data = bytearray(zip_of(Entry(b"a", b"a"), Entry(b"b", b"b")))
        struct.pack_into(f"<{form}", data, len(data) - 22 + at, value)
        for headers in ({}, RESUMABLE):
            assert re.search("not a whole|is damaged", refused(bytes(data), tmp_path / "data", headers))

    def test_64_bit_nonsense(self, tmp_path: Path) -> None:
        """Sizes that no file can have."""
        entry = Entry(b"a", b"a", zip64=True, size=(1 << 64) - 1)
        for headers in ({}, RESUMABLE):
            assert re.search("is no size|is damaged", refused(zip_of(entry), tmp_path / "data", headers))


@pytest.mark.parametrize(
    "data",
    [
        bytes(512),
        bytes(1024),
        bytes(10_240),
        gzip.compress(bytes(100_000)),
        bytes(32_768) + b"\x01CD001\x01" + bytes(4096),
        b"\x1f\x8b",
        bytes(512) + b"text",
        tar_of(),
        bytes(512) + zip_of(),
        zip_of(Entry(b"a", b"b"), directory=False) + zip_of(),
    ],
    ids=range(10),
)
def test_nothing_passes_for_an_empty_archive(tmp_path: Path, data: bytes) -> None:
    """Zeros, an image of a disc, a packed nothing, a tar without members, a zip without its directory: no file goes."""
    with serving([Answer(200, tar_of(("a", b"a"))), Answer(200, data)]) as (base, _):
        sync(f"{base}/x.tar", tmp_path / "data", unpack=True)
        with pytest.raises(ArchiveError, match=r"not a whole (zip )?archive"):
            sync(f"{base}/x.tar", tmp_path / "data", unpack=True, mirror=True)
    assert (tmp_path / "data" / "a").read_bytes() == b"a"


def test_an_archive_of_an_empty_folder_is_one(tmp_path: Path) -> None:
    """A zip without members, and a tar of just its own folder, say so themselves: --mirror empties DEST."""
    for data in (zip_of(), zip_of(Entry(b"/")), tar_of((".", None))):
        with serving([Answer(200, tar_of(("a", b"a"))), Answer(200, data)]) as (base, _):
            sync(f"{base}/x.tar", tmp_path / "data", unpack=True)
            assert sync(f"{base}/x.tar", tmp_path / "data", unpack=True, mirror=True).removed == ["a"]


LINK = 0o120777


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zip_of(Entry(b"l", b"a\0b", mode=LINK)), "'l' has a target that none can have"),
        (zip_of(Entry(b"l", b"a" * 5000, mode=LINK)), "'l' has a target that none can have"),
        (zip_of(Entry(b".", b"x")), "'.' has a name that no file can have"),
        (zip_of(Entry(b"", b"x")), "'' has a name that no file can have"),
        (tar_of((".", b"x")), "'.' has a name that no file can have"),
        (zip_of(Entry(b"d/" * 1000 + b"x", b"x")), "lies in more than 250 folders"),
        (tar_of(("d/" * 1000 + "x", b"x")), "lies in more than 250 folders"),
        (zip_of(Entry(b"x" * 256, b"x")), "longer than 255 bytes"),
    ],
    ids=range(8),
)
def test_what_no_disk_takes_is_one_line(tmp_path: Path, data: bytes, words: str) -> None:
    """While it comes and from a file alike."""
    for headers in ({}, RESUMABLE):
        assert words in refused(data, tmp_path / "data", headers)


def test_a_locale_that_has_no_such_letters(tmp_path: Path) -> None:
    """One line that says what to start Python with."""
    (tmp_path / "x.zip").write_bytes(zip_of(Entry("é.txt".encode(), b"x")))
    with serving(Answer(200, (tmp_path / "x.zip").read_bytes())) as (base, _):
        program = f"from colab_magics.core import sync; sync({base + '/x.zip'!r}, {str(tmp_path / 'data')!r})"
        environ = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ArchiveError: the archive's member" in done.stderr.splitlines()[-1]
    assert "start it with PYTHONUTF8=1" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("headers", [{}, RESUMABLE], ids=["streamed", "from a file"])
def test_what_is_excluded_stops_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    """A name that no disk takes, one that leads outside, a pipe, a link that leads outside, damage, a password."""
    data = zip_of(
        Entry(b"bad/" + b"x" * 256, b"x"),
        Entry(b"bad/../../etc", b"x"),
        Entry(b"bad/pipe", mode=0o010644),
        Entry(b"bad/link", b"/etc", mode=LINK),
        Entry(b"bad/damaged", b"x", crc=1),
        Entry(b"bad/rare", b"x", method=99),
        Entry(b"bad/secret", b"x", flags=0x801),
        Entry(b"good", b"good"),
    )
    with serving(Answer(200, data, headers)) as (base, seen):
        assert sync(f"{base}/x.zip", tmp_path / "data", exclude=["bad"]).added == ["good"]
        assert len(seen) == 1
    assert sorted(os.listdir(tmp_path / "data")) == [".colab_magics", "good"]


class TestNames:
    @pytest.mark.parametrize("headers", [{}, RESUMABLE], ids=["streamed", "from a file"])
    @pytest.mark.parametrize(
        ("entry", "encoding", "name"),
        [
            (Entry("Résumé.txt".encode(), b"x", flags=0), None, "Résumé.txt"),
            (Entry("Résumé.txt".encode("cp437"), b"x", flags=0), None, "Résumé.txt"),
            (Entry("Résumé.txt".encode(), b"x", flags=0x800), "cp1252", "Résumé.txt"),
            (Entry("表.txt".encode("shift_jis"), b"x", flags=0), "shift_jis", "表.txt"),
            (Entry("数据.txt".encode("gbk"), b"x", flags=0), "gbk", "数据.txt"),
        ],
        ids=range(5),
    )
    def test_names_are_read_as_they_were_written(
        self, tmp_path: Path, entry: Entry, encoding: str | None, name: str, headers: dict[str, str]
    ) -> None:
        """With the flag, without it in UTF-8 and in code page 437, and in what the person says."""
        with serving(Answer(200, zip_of(entry), headers)) as (base, _):
            assert sync(f"{base}/x.zip", tmp_path / "data", names=encoding).added == [name]

    def test_info_zips_own_field_wins(self, tmp_path: Path) -> None:
        """It is believed when it speaks of the name that stands there."""
        raw, right = "Résumé.txt".encode("cp437"), "Übersicht.txt"
        for crc, name in ((zlib.crc32(raw), right), (1, "Résumé.txt")):
            field = b"\x01" + struct.pack("<L", crc) + right.encode()
            entry = Entry(raw, b"x", flags=0, extra=struct.pack("<HH", 0x7075, len(field)) + field)
            with serving(Answer(200, zip_of(entry))) as (base, _):
                assert sync(f"{base}/x.zip", tmp_path / str(crc)).added == [name]

    def test_what_is_no_encoding_is_said_so(self, tmp_path: Path) -> None:
        """Before anything is fetched."""
        with pytest.raises(ArchiveError, match="'latin-99' is no encoding"):
            sync("https://example.com/x.zip", tmp_path / "data", names="latin-99")


@pytest.mark.parametrize("headers", [{}, RESUMABLE], ids=["as it comes", "when it is there"])
@pytest.mark.parametrize("target", ["../../etc", "a" * 5000, "a\0b"])
def test_a_dry_run_refuses_a_symlink_as_the_run_does(tmp_path: Path, target: str, headers: dict[str, str]) -> None:
    """Where it points is its content, of which a dry run looks at no more than it needs."""
    data = zip_of(Entry(b"x", b"x" * 5000), Entry(b"l", target.encode(), mode=stat.S_IFLNK | 0o777))
    assert refused(data, tmp_path / "data", headers, dry_run=True) == refused(data, tmp_path / "data", headers)


def test_damage_costs_one_fetch(box: Sandbox, tmp_path: Path) -> None:
    """Whatever byte of a streamed zip is wrong, nothing is asked for twice, and what is not refused is whole."""
    folder = box.folder("data")
    link = box.folder_link(folder)
    chance = random.Random(1)
    entries = [
        Entry(
            b"d%d/f%d" % (n % 3, n),
            chance.randbytes(chance.choice([0, 10, 3000])) + bytes(chance.choice([0, 5000])),
            method=chance.choice([0, 8]),
            descriptor=chance.choice(["signed", "bare", None]),
        )
        for n in range(12)
    ]
    good = zip_of(*entries)
    for number in range(60):
        data = bytearray(good)
        kind = chance.randrange(3)
        if kind == 0:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[chance.randrange(4, len(data)) :]
        else:
            at = chance.randrange(4, len(data))
            data[at : at + chance.randrange(1, 50)] = chance.randbytes(chance.randrange(50))
        box.clear_requests()
        box.fail(link, body=bytes(data))
        dest = tmp_path / str(number)
        with suppress(ArchiveError):
            sync(link, dest)
            for entry in entries:
                place = dest / entry.name.decode()
                assert not place.is_file() or place.read_bytes() == entry.data
        assert [request.service for request in box.requests].count("content") == 1


SEEDS = [
    zip_of(Entry(b"a/b", b"abc" * 99), Entry(b"l", b"a/b", mode=LINK), Entry(b"a/"), Entry(b"c", b"c", method=0)),
    zip_of(Entry(b"a", b"abc" * 99, descriptor=None, zip64=True), Entry(b"b", b"", extra=b"UT\x05\0\1\0\0\0\0")),
    zip_of(Entry(b"x", bz2.compress(b"b" * 99), method=12, size=99, crc=zlib.crc32(b"b" * 99))),
    tar_of(("d", None), ("d/a", b"a" * 700), ("l", "d/a"), ("n" * 150, b"x")),
    gzip.compress(tar_of(("d/a", b"a" * 700))),
    sparse(4096),
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes of an archive, preferably those of its records; a packed one before it is packed."""
    packed = data[:2] == b"\x1f\x8b" and chance.random() < 0.8
    out = bytearray(gzip.decompress(data) if packed else data)
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(out) or 1)
        what = chance.randrange(5)
        if what == 0:
            out[at : at + 1] = bytes([chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])])
        elif what == 1:
            out[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"PK\x01\x02"])
        elif what == 2:
            del out[at : at + chance.choice([1, 4, 512])]
        elif what == 3:
            out[at:at] = out[chance.randrange(len(out) or 1) :][: chance.choice([1, 30, 512])]
        else:
            out[at : at + 8] = chance.choice([b"00000000", b"77777777", b"\x80\0\0\0\0\0\0\1", b"../../x\0"])
    if not packed and data[:2] != b"PK" and chance.random() < 0.7:
        for start in range(0, len(out) - 511, 512):  # so that more than the checksum of a header is put to the test
            if out[start + 257 : start + 262] == b"ustar":
                out[start + 148 : start + 156] = b" " * 8
                out[start + 148 : start + 156] = b"%06o\0 " % sum(out[start : start + 512])
    return gzip.compress(bytes(out), 1) if packed else bytes(out)


def test_no_mutation_is_a_stack_trace(tmp_path: Path) -> None:
    """Whatever is changed, only errors of ours come, and nothing is written outside; FUZZ_SECONDS says how long."""
    from colab_magics.core.archives.members import Everything, Target
    from colab_magics.core.archives.opening import take, unpack

    class Bytes(io.BytesIO):
        @property
        def head(self) -> bytes:
            return self.getvalue()[:512]

    seed, until = (
        int(os.environ.get("FUZZ_SEED", "0")),
        time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "3")),
    )
    room = tmp_path / "room"
    room.mkdir()
    while time.monotonic() < until:
        seed += 1
        chance = random.Random(seed)
        data = mutated(chance.choice(SEEDS), chance)
        (tmp_path / "archive").write_bytes(data)
        for streams in (False, True):
            target = Target(room / "tree", disk.Budget(tmp_path, "data"), Everything())
            try:
                if streams and data[:4] == b"PK\x03\x04":
                    archive = take(Bytes(data), target)
                else:
                    archive = unpack(tmp_path / "archive", target)
                archive.materialise({member.name for member in archive.members if member.kind != "folder"})
            except ColabMagicsError:
                pass
            except Exception as error:
                raise AssertionError(f"seed {seed}") from error
        assert set(os.listdir(tmp_path)) == {"archive", "room"}, seed
        assert set(os.listdir(room)) <= {"tree"}, seed
