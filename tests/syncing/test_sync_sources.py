"""Files, archives and other addresses, and what goes wrong with them, over real HTTP."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

import pytest
from servers import Answer, serving
from trees import BACKUP, WHOLE, asked, key_of, tree
from zips import Entry, tar_of, zip_of

from colab_magics import masking
from colab_magics.core.common import disk
from colab_magics.core.syncing.sync import is_complete, sync
from colab_magics.errors import ArchiveError, ColabMagicsError, LayoutError, LinkError, TokenError, TransferError
from colab_magics.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("impatient")


class TestFiles:
    def test_a_file_link_is_a_file(self, box: Sandbox) -> None:
        """DEST is the file, or a folder for it; by default the server's name in the working folder."""
        link = box.file_link("my data.csv", b"1,2\n")
        Path("there").mkdir()
        for dest, path in (
            (None, "my data.csv"),
            ("x.csv", "x.csv"),
            ("there", "there/my data.csv"),
            ("new/", "new/my data.csv"),
        ):
            result = sync(link, dest)
            assert (os.fspath(result), len(result.added)) == (path, 1)
            assert Path(path).read_bytes() == b"1,2\n"
            assert sync(link, dest, once=True).status == "up-to-date"

    def test_a_file_is_updated_and_kept(self, box: Sandbox) -> None:
        """As in a folder: replaced when it differs, with a backup when the user changed it."""
        link = box.file_link("d.bin", b"1")
        sync(link, "d.bin")
        assert sync(link, "d.bin").status == "up-to-date"
        box.file_link("d.bin", b"22")
        assert sync(link, "d.bin").updated == ["d.bin"]
        Path("d.bin").write_bytes(b"mine")
        result = sync(link, "d.bin")
        assert (result.updated, result.backed_up) == (["d.bin"], ["d.bin"])
        assert Path(BACKUP, "d.bin").read_bytes() == b"mine"

    def test_an_item_in_a_folder_link(self, box: Sandbox, proj: Path) -> None:
        """A path behind a folder link is a file or a folder, as the server says."""
        whole = box.folder_link(proj)
        item = whole.replace("?", "/sub/b.csv?")
        folder = whole.replace("?", "/sub?")
        assert os.fspath(sync(item)) == "b.csv"
        assert os.fspath(sync(item, "c.csv")) == "c.csv"
        assert os.fspath(sync(folder)) == "sub"
        assert tree("sub") == {"b.csv": "b" * 5000}
        assert Path("c.csv").read_text() == "b" * 5000

    @pytest.mark.parametrize("style", ["scl", "h", "sh"])
    def test_every_form_of_folder_link(self, box: Sandbox, proj: Path, style: str) -> None:
        """The older form is redirected to the present one; both arrive."""
        sync(box.folder_link(proj, style=style), "data")  # type: ignore[arg-type]
        assert tree("data") == WHOLE

    def test_a_redirector_is_its_link(self, box: Sandbox, link: str) -> None:
        """Also for --once: what it led to the first time need not be asked again."""
        short = box.redirector(link, absolute=True)
        sync(short, "data", once=True)
        asked(box)
        assert sync(short, "data", once=True).status == "up-to-date"
        assert asked(box) == 0

    def test_any_address_of_a_file_or_a_zip(self) -> None:
        """A zip elsewhere is unpacked, unless DEST says that it is wanted as a file; other files are files."""
        zipped, plain = zip_of(Entry(b"top/a.txt", b"a")), b"1,2\n"
        answers = [Answer(200, zipped), Answer(200, zipped), Answer(200, zipped), Answer(200, plain)]
        with serving([*answers, Answer(200, plain)]) as (base, _):
            assert os.fspath(sync(f"{base}/some/data.zip?sig=x")) == "data"
            sync(f"{base}/some/data.zip", "copy.zip")
            sync(f"{base}/t.csv", "t.csv")
        assert tree("data") == {"top/": "", "top/a.txt": "a"}
        assert Path("copy.zip").read_bytes() == zipped

    def test_a_secret_names_the_link(self, box: Sandbox, link: str) -> None:
        """secret:NAME is read where secrets are; the link it holds is masked from then on."""
        box.add_secret("DATASET_LINK", link)
        sync("secret:DATASET_LINK", "data")
        assert tree("data") == WHOLE
        assert masking.redact(f"<{link}>") == f"<{masking.MASK}>"

    def test_no_server_can_choose_another_place(self, box: Sandbox) -> None:
        """A name with folders in it is a name without them, and the one of our state is refused."""
        for given, made in (
            ("../../evil.txt", "evil.txt"),
            ("..%5cevil2.txt", "evil2.txt"),
            ('we"ird\n.txt', 'we"ird_.txt'),
        ):
            quoted = given.replace('"', "%22").replace("\n", "%0A")
            head = {"Content-Disposition": f"attachment; filename*=UTF-8''{quoted}"}
            with serving(Answer(200, b"x", head)) as (base, _):
                assert os.fspath(sync(f"{base}/file")) == made
        ours = Answer(200, b"x", {"Content-Disposition": "attachment; filename=.colab_magics"})
        with serving(ours) as (base, _), pytest.raises(LayoutError, match="give DEST another name"):
            sync(f"{base}/file")
        zipped = zip_of(Entry(b"a", b"a"))
        with serving(Answer(200, zipped, {"Content-Disposition": "attachment; filename=...zip"})) as (base, _):
            assert os.fspath(sync(f"{base}/file.zip")) == "download"
        assert not Path("../evil").exists()

    def test_a_digest_is_checked(self, box: Sandbox) -> None:
        """--sha256: the right one passes, a wrong one writes nothing, a folder has none."""
        link = box.file_link("d.bin", b"data")
        right = "3A6EB0790F39AC87C94F3856B2DD2C5D110E6811602261A9A923D3BB23ADC8B7"
        with pytest.raises(ArchiveError, match="nothing was written: check the digest"):
            sync(link, "d.bin", sha256="0" * 64)
        assert os.listdir() == []
        assert sync(link, "d.bin", sha256=right, once=True).added == ["d.bin"]
        assert is_complete(link, "d.bin", sha256=right)
        with pytest.raises(ArchiveError, match="64 hexadecimal digits"):
            sync(link, "d.bin", sha256="abc")
        with pytest.raises(LinkError, match="--sha256 is for one file"):
            sync(box.folder_link(box.folder("f")), "f", sha256=right)

    def test_a_password_is_a_secret(self, box: Sandbox, proj: Path) -> None:
        """Named, it opens the link; typed, it is refused and not repeated; missing, the error says how to give it."""
        link = box.folder_link(proj, password="open-sesame-3")
        box.add_secret("PW", "open-sesame-3")
        with pytest.raises(LinkError, match="--password secret:NAME"):
            sync(link, "data")
        with pytest.raises(TokenError, match="secret:NAME") as caught:
            sync(link, "data", password="open-sesame-3")
        assert "open-sesame-3" not in str(caught.value)
        sync(link, "data", password="secret:PW")
        assert tree("data") == WHOLE


class TestOneRequest:
    """Dropbox zips a folder for each request: what is asked for its name is then read on."""

    @pytest.mark.parametrize("dest", [None, "there"])
    @pytest.mark.parametrize("dry_run", [False, True])
    def test_a_link_is_fetched_once(self, box: Sandbox, proj: Path, dest: str | None, dry_run: bool) -> None:
        """Whether DEST is given or not, for folders, files, and what a folder link leads to; a dry run too."""
        whole = box.folder_link(proj)
        for link in (whole, whole.replace("?", "/sub/b.csv?"), whole.replace("?", "/sub?"), box.file_link("f", b"f")):
            box.clear_requests()
            sync(link, dest, dry_run=dry_run)
            assert [request.method for request in box.requests if request.service == "content"] == ["GET"]

    @pytest.mark.parametrize("dest", [None, "d.bin"])
    def test_what_is_there_is_not_read_again(self, box: Sandbox, dest: str | None) -> None:
        """The server is told what is there by its validator; one that sends it all the same is not listened to."""
        link = box.file_link("d.bin", b"data" * 100_000)
        sync(link, dest)
        box.clear_requests()
        result = sync(link, dest)
        assert (result.status, result.bytes_received) == ("up-to-date", 0)
        [request] = [request for request in box.requests if request.service == "content"]
        assert request.headers["if-none-match"]

    def test_what_the_server_takes_for_unchanged_but_is_not_comes_again(self) -> None:
        """The file that it is told of was changed here meanwhile."""
        head = {"ETag": '"1"'}
        with serving([Answer(200, b"theirs", head), Answer(304), Answer(200, b"theirs", head)]) as (base, seen):
            sync(f"{base}/d.bin", "d.bin")
            Path("d.bin").write_bytes(b"mine")
            result = sync(f"{base}/d.bin", "d.bin")
        assert (result.updated, result.backed_up) == (["d.bin"], ["d.bin"])
        assert [headers.get("If-None-Match") for _, headers in seen] == [None, '"1"', None]


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_fills_the_disk_is_stopped_while_it_comes(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the last free byte is taken; at once, when its length says that it cannot fit."""
    sizes: list[int] = []

    def free(_: Path) -> int:
        sizes.append(sum(path.stat().st_size for path in Path().rglob("*") if path.is_file()))
        return 5_000_000 - sizes[-1]

    content = bytes(9_000_000)
    answer = Answer(200, gzip.compress(content), {"Content-Encoding": "gzip"}) if packed else Answer(200, content)
    monkeypatch.setattr(disk, "_free", free)
    monkeypatch.setenv("COLAB_MAGICS_MIN_FREE", "2000000")
    with serving(answer) as (base, _), pytest.raises(TransferError, match=r"its disk has|is full"):
        sync(f"{base}/d.bin", "d.bin")
    assert max(sizes) <= 3_000_000
    assert packed == (max(sizes) > 1_000_000)
    assert os.listdir() == []


class TestUnpack:
    @pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
    def test_an_archive_behind_a_file_link(self, box: Sandbox, suffix: str) -> None:
        """It is unpacked into DEST, by default a folder of its name without what makes it an archive."""
        link = box.file_link(f"set.{suffix}", archive(suffix, {"a.txt": b"a", "sub/b.txt": b"b"}))
        assert os.fspath(sync(link, unpack=True)) == "set"
        assert tree("set") == {"a.txt": "a", "sub/": "", "sub/b.txt": "b"}
        assert sync(link, unpack=True).status == "up-to-date"
        assert sync(link, unpack=True, once=True).status == "up-to-date"
        box.file_link(f"set.{suffix}", archive(suffix, {"a.txt": b"A!", "sub/b.txt": b"b"}))
        assert sync(link, unpack=True).updated == ["a.txt"]

    def test_what_is_no_archive(self, box: Sandbox) -> None:
        """The error says what can be unpacked, and nothing is left."""
        link = box.file_link("set.zip", b"no zip at all" * 99)
        with pytest.raises(ArchiveError, match=r"zip, tar, tar\.gz"):
            sync(link, unpack=True)
        assert os.listdir() == []


def archive(suffix: str, files: dict[str, bytes]) -> bytes:
    if suffix == "zip":
        return zip_of(*(Entry(name.encode(), data) for name, data in files.items()))
    if suffix == "tar.zst":
        zstandard = pytest.importorskip("zstandard")
        packed: bytes = zstandard.ZstdCompressor().compress(tar_of(*files.items()))
        return packed
    return tar_of(*files.items(), packed=suffix.removeprefix("tar").removeprefix("."))


BAD = {
    "outside": zip_of(Entry(b"a.txt", b"new"), Entry(b"../evil", b"x")),
    "crc": zip_of(Entry(b"a.txt", b"new"), Entry(b"sub/b.csv", b"x", crc=7)),
    "cut": zip_of(Entry(b"a.txt", b"new" * 999), Entry(b"sub/b.csv", b"x"))[:-40],
    "headless": zip_of(Entry(b"a.txt", b"new"), Entry(b"sub/b.csv", b"x"), directory=False),
    "escape": zip_of(Entry(b"l", b"..", mode=stat.S_IFLNK | 0o777), Entry(b"l/x", b"x")),
    "device": zip_of(Entry(b"a.txt", b"new"), Entry(b"dev", mode=stat.S_IFBLK | 0o666)),
    "locked": zip_of(Entry(b"a.txt", b"new"), Entry(b"x", b"x", flags=0x801)),
    "disagrees": zip_of(Entry(b"a.txt", b"new", local_name=b"b.txt")),
    "no zip": b"PK\x03\x04 and then something else",
    "tar": tar_of(("a.txt", b"new")),
}


class TestWhatGoesWrong:
    @pytest.mark.parametrize("kind", BAD)
    @pytest.mark.parametrize("exists", [False, True])
    def test_a_bad_archive_changes_nothing(self, box: Sandbox, proj: Path, link: str, kind: str, exists: bool) -> None:
        """Whatever is wrong with it: DEST is as it was, the error names the link or the member, without the key."""
        if exists:
            sync(link, "data")
        before = tree(".")
        box.fail(link, body=BAD[kind])
        with pytest.raises(ArchiveError) as caught:
            sync(link, "data")
        assert tree(".") == before
        assert key_of(link) not in str(caught.value)
        assert not Path("../evil").exists()
        box.heal(link)
        assert tree(sync(link, "data")) == WHOLE

    @pytest.mark.parametrize(
        "failure",
        [
            {"page": "gone"},
            {"page": "restricted"},
            {"page": "traffic"},
            {"page": "too-large"},
            {"page": "too-many-files"},
            {"page": "login"},
            {"status": 410},
            {"status": 500},
            {"status": 503, "retry_after": 999},
            {"status": 429, "retry_after": 0},
            {"cut_after": 0},
            {"cut_after": 150},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("exists", [False, True])
    def test_a_failed_download_changes_nothing(
        self, box: Sandbox, link: str, failure: dict[str, object], exists: bool
    ) -> None:
        """DEST is as it was, nothing is left beside it, and the next run works."""
        if exists:
            sync(link, "deep/data")
        before = tree(".")
        box.fail(link, **failure)  # type: ignore[arg-type]
        with pytest.raises(ColabMagicsError) as caught:
            sync(link, "deep/data")
        assert tree(".") == before
        assert key_of(link) not in str(caught.value) + repr(caught.value)
        box.heal(link)
        assert tree(sync(link, "deep/data")) == WHOLE

    def test_nothing_of_the_key_stays_anywhere(self, box: Sandbox, link: str) -> None:
        """Neither the manifest, nor the result, nor any file in DEST or the caches holds what grants access."""
        result = sync(link, "data")
        key = key_of(link)
        for path in [*Path().rglob("*"), *Path.home().rglob("*")]:
            assert key not in str(path)
            assert not path.is_file() or key.encode() not in path.read_bytes()
        assert key not in repr(result) + str(vars(result)) + "".join(result.changes())

    def test_a_token_typed_as_a_link_is_refused(self) -> None:
        """And not repeated."""
        token = "ghp_" + "a1B2" * 9
        with pytest.raises(TokenError, match="revoke") as caught:
            sync(token, "data")
        assert token not in str(caught.value)
