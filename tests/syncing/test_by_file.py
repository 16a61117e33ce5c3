"""Syncs that ask Dropbox's API what is there, and fetch what differs, against the sandbox."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from trees import fill

from colab_magics.core import sync
from colab_magics.core.common.files import FOLDER
from colab_magics.core.common.progress import Silent
from colab_magics.core.dropbox import credentials
from colab_magics.core.syncing import by_file
from colab_magics.core.syncing import sync as sync_module
from colab_magics.core.syncing.manifest import Manifest
from colab_magics.errors import LinkError, TokenError, TransferError
from colab_magics.sandbox import Sandbox

OWN = "dropbox:/proj"
DOWNLOADS = ("/2/files/download", "/2/sharing/get_shared_link_file")


@pytest.fixture(autouse=True)
def quick(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once, and nothing is remembered of another test."""
    monkeypatch.setattr(credentials, "_access", {})
    monkeypatch.setattr(sync_module, "_declined", set())


@pytest.fixture
def proj(box: Sandbox) -> Path:
    """A folder of the account, of which somebody's login is in the token file."""
    box.log_in()
    folder = box.folder("proj")
    fill(folder, {"a.txt": "a", "sub/b.csv": "b" * 5000, "sub/deep/c.bin": "c" * 100_000, "empty/": ""})
    return folder


class Listener(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def fetched(box: Sandbox) -> list[str]:
    """The files that were asked for since the last time, by name."""
    found = [request.headers["dropbox-api-arg"] for request in box.requests if request.path in DOWNLOADS]
    box.clear_requests()
    return sorted(os.path.basename(path) for path in found)


def texts(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and FOLDER not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


def test_only_what_differs_is_fetched(box: Sandbox, proj: Path) -> None:
    """The first time all, then nothing, then the file that changed; empty folders and time stamps as in a zip."""
    first = sync(OWN, "dest")
    assert sorted(first.added) == ["a.txt", "sub/b.csv", "sub/deep/c.bin"]
    assert texts(Path("dest")) == texts(proj)
    assert Path("dest/empty").is_dir()
    assert int(Path("dest/a.txt").stat().st_mtime) == int((proj / "a.txt").stat().st_mtime)
    assert fetched(box) == ["a.txt", "b.csv", "c.bin"]
    again = sync(OWN, "dest")
    assert (again.status, again.bytes_received, len(again.unchanged)) == ("up-to-date", 0, 3)
    (proj / "a.txt").write_text("A")
    changed = sync(OWN, "dest")
    assert (changed.updated, changed.bytes_received) == (["a.txt"], 1)
    assert fetched(box) == ["a.txt"]
    assert texts(Path("dest")) == texts(proj)


def test_a_dry_run_tells_sizes_and_fetches_nothing(box: Sandbox, proj: Path) -> None:
    listener = Listener()
    planned = sync(OWN, "dest", dry_run=True, progress=listener)
    assert (planned.status, len(planned.added), planned.bytes_received) == ("planned", 3, 0)
    assert listener.lines == ["dest: 3 of 6 by the API (105 kB)"]
    assert fetched(box) == []
    assert not Path("dest").exists()


def test_what_the_user_changed_is_kept(box: Sandbox, proj: Path) -> None:
    """A local change is backed up when the file is replaced; a mirror removes what the link no longer holds."""
    sync(OWN, "dest")
    Path("dest/a.txt").write_text("mine")
    Path("dest/own.txt").write_text("mine too")
    (proj / "sub" / "b.csv").unlink()
    result = sync(OWN, "dest", mirror=True)
    assert (result.updated, result.removed, result.backed_up) == (["a.txt"], ["sub/b.csv"], ["a.txt"])
    assert (Path("dest") / FOLDER / "backup" / "a.txt").read_text() == "mine"
    assert texts(Path("dest")) == texts(proj) | {"own.txt": "mine too"}


def test_what_was_not_asked_for_is_not_fetched(box: Sandbox, proj: Path) -> None:
    sync(OWN, "dest", include=["*.csv"])
    assert (list(texts(Path("dest"))), fetched(box)) == (["sub/b.csv"], ["b.csv"])
    sync(OWN, "dest", exclude=["deep"])
    assert fetched(box) == ["a.txt"]


def test_once_replaces_nothing_and_then_asks_nobody(box: Sandbox, proj: Path) -> None:
    fill(Path("dest"), {"a.txt": "mine", "sub/deep": "a file"})
    sync(OWN, "dest", once=True)
    assert texts(Path("dest")) == {"a.txt": "mine", "sub/deep": "a file", "sub/b.csv": "b" * 5000}
    assert fetched(box) == ["b.csv"]
    assert sync(OWN, "other", once=True).added
    box.clear_requests()
    assert sync(OWN, "other", once=True).status == "up-to-date"
    assert box.requests == []


def test_a_folder_that_came_otherwise_is_read_once(box: Sandbox, proj: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with the right content are taken for what they are, and their hashes are remembered."""
    sync(box.folder_link(proj), "dest", via="zip")
    assert sync(OWN, "dest").status == "up-to-date"
    assert fetched(box) == []
    assert set(Manifest.load(Path("dest")).hashes) == {"a.txt", "sub/b.csv", "sub/deep/c.bin"}
    monkeypatch.setattr("colab_magics.core.dropbox.files.digests_of", pytest.fail)
    assert sync(OWN, "dest").status == "up-to-date"


def test_a_remembered_hash_ends_with_the_content_that_had_it(box: Sandbox, proj: Path) -> None:
    """After a change that came as a zip the hash of the old content does not stand for the new one."""
    sync(OWN, "dest")
    (proj / "a.txt").write_text("z")
    sync(box.folder_link(proj), "dest", via="zip")
    (proj / "a.txt").write_text("a")
    assert sync(OWN, "dest").updated == ["a.txt"]
    assert texts(Path("dest")) == texts(proj)


def test_equal_contents_are_fetched_once_and_stay_two_files(box: Sandbox, proj: Path) -> None:
    fill(proj, {"one.bin": "x" * 1000, "two.bin": "x" * 1000})
    sync(OWN, "dest")
    assert len(fetched(box)) == 4
    Path("dest/one.bin").write_text("changed")
    assert Path("dest/two.bin").read_text() == "x" * 1000
    assert Path("dest/one.bin").stat().st_nlink == 1


@pytest.mark.parametrize("existing", [False, True])
def test_a_run_that_was_cut_is_gone_on_with(box: Sandbox, proj: Path, existing: bool) -> None:
    """What was proved is not fetched again, and of a file that was cut the rest; until then DEST is as it was."""
    if existing:
        fill(Path("dest"), {"old.txt": "old"})
        sync(OWN, "dest", include=["a.txt"])
    fill(proj, {"big.bin": "0123456789" * 400_000})
    before = texts(Path("dest")) if existing else None
    for _ in range(5):
        box.fail_api("files/download", cut_after=3_000_000 // 5)
    box.fail_api("files/download", status=500, times=None, skip=0)
    with pytest.raises(TransferError):
        sync(OWN, "dest")
    assert (texts(Path("dest")) if existing else None) == before
    assert existing == Path("dest").exists()
    first = sum(request.bytes_sent for request in box.requests if request.path in DOWNLOADS)
    box.heal_api()
    box.clear_requests()
    result = sync(OWN, "dest")
    assert texts(Path("dest")) == texts(proj) | ({"old.txt": "old"} if existing else {})
    whole = sum(path.stat().st_size for path in proj.rglob("*") if path.is_file())
    assert result.bytes_received <= whole - first * 0.9 + 1
    assert not list(Path().glob(f"**/{by_file.FETCHED}"))


def test_a_content_that_is_not_what_was_listed_never_arrives(box: Sandbox, proj: Path) -> None:
    box.fail_api("files/download", body=b"z", times=None)
    with pytest.raises(TransferError, match="is not what was listed"):
        sync(OWN, "dest", include=["a.txt"])
    assert not Path("dest").exists()
    box.heal_api()
    assert sync(OWN, "dest").added
    assert texts(Path("dest")) == texts(proj)


def test_one_file_and_an_archive(box: Sandbox, proj: Path) -> None:
    """A file link's rights: a name, a digest, to be unpacked; unchanged it is not fetched."""
    assert os.fspath(sync("dropbox:/proj/sub/b.csv")) == "b.csv"
    assert sync("dropbox:/proj/sub/b.csv").status == "up-to-date"
    assert fetched(box) == ["b.csv"]
    digest = hashlib.sha256(b"a").hexdigest()
    assert sync("dropbox:proj/a.txt", "x.txt", sha256=digest).added == ["x.txt"]
    with pytest.raises(ValueError, match="SHA-256"):
        sync("dropbox:/proj/a.txt", "y.txt", sha256="0" * 64)
    assert not Path("y.txt").exists()
    with zipfile.ZipFile(proj / "data.zip", "w") as archive:
        archive.writestr("inner/one.txt", "1")
    assert sync("dropbox:/proj/data.zip", "data", unpack=True).added == ["inner/one.txt"]
    box.clear_requests()
    assert sync("dropbox:/proj/data.zip", "data", unpack=True).status == "up-to-date"
    assert fetched(box) == []


def test_what_is_not_there_and_who_is_not_logged_in(box: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="colab-magics login dropbox"):
        sync(OWN)
    box.log_in()
    with pytest.raises(LinkError, match="dropbox:/none is not there"):
        sync("dropbox:/none")
    with pytest.raises(LinkError, match="no path of a Dropbox"):
        sync("dropbox:/a/../b")


@pytest.mark.parametrize("who", ["login", "app"])
def test_a_shared_folder_comes_file_by_file(
    box: Sandbox, proj: Path, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a login, or with an app alone; a password too; and nothing of it needs the website."""
    if who == "app":
        box.revoke_login()
        monkeypatch.setenv("COLAB_MAGICS_TOKEN_FILE", os.devnull)
        monkeypatch.setattr("colab_magics.core.secrets.tokenfile.read", lambda _: None)
        monkeypatch.setenv("DROPBOX_APP", f"{box.app_key}:{box.app_secret}")
    monkeypatch.setenv("COLAB_MAGICS_SECRET_LINK_PASSWORD", "open sesame")
    link = box.folder_link(proj, password="open sesame")
    sync(link, "dest", password="secret:LINK_PASSWORD")
    assert texts(Path("dest")) == texts(proj)
    (proj / "a.txt").write_text("A")
    box.clear_requests()
    assert sync(link, "dest", password="secret:LINK_PASSWORD", via="api").updated == ["a.txt"]
    assert {request.service for request in box.requests} == {"www"}
    assert all(request.path.startswith(("/2/", "/oauth2/")) for request in box.requests)


def test_the_zip_is_taken_where_it_is_quicker(box: Sandbox, proj: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many files, each of which costs an answer; a single one that differs does not."""
    link, listener = box.folder_link(proj), Listener()
    monkeypatch.setattr(by_file, "_ZIP_STARTS", -1.0)
    sync(link, "dest", dry_run=True, progress=listener)
    assert listener.lines == ["dest: as a zip (105 kB), since 3 files would take longer one by one"]
    assert not any("zip_download_get" in request.path for request in box.requests), "nothing is fetched to tell"
    assert sync(link, "dest").added
    assert fetched(box) == []
    (proj / "a.txt").write_text("A")
    monkeypatch.setattr(by_file, "_ZIP_STARTS", 1.0)
    assert sync(link, "dest").updated == ["a.txt"]
    assert fetched(box) == ["a.txt"]


@pytest.mark.parametrize("limit", ["_ZIP_MOST", "_ZIP_LARGEST", "_ZIP_FILES"])
def test_what_no_zip_holds_comes_file_by_file(
    box: Sandbox, proj: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder too large, a file too large, too many entries: quicker or not."""
    monkeypatch.setattr(by_file, "_ZIP_STARTS", -1e9)
    monkeypatch.setattr(by_file, limit, 5)
    sync(box.folder_link(proj), "dest")
    assert len(fetched(box)) == 3


@pytest.mark.parametrize(
    ("status", "error"), [(401, "invalid_access_token"), (403, "no"), (409, "shared_link_access_denied")]
)
def test_where_the_api_does_not_list_a_link_it_comes_as_a_zip(
    box: Sandbox, proj: Path, status: int, error: str
) -> None:
    """One line says so, once a session and link; whoever asks for the API alone hears why."""
    box.fail_api("sharing/*", status=status, error=error, times=None)
    link, listener = box.folder_link(proj), Listener()
    sync(link, "dest", progress=listener)
    assert texts(Path("dest")) == texts(proj)
    [line] = listener.lines
    assert "it comes as a zip" in line
    assert link.partition("rlkey=")[2][:10] not in line
    box.clear_requests()
    assert sync(link, "dest", progress=listener).status == "up-to-date"
    assert not any(request.path.startswith("/2/") for request in box.requests)
    with pytest.raises((TransferError, TokenError)):
        sync(link, "dest", via="api")


def test_an_own_folder_comes_as_a_zip_where_that_is_quicker(
    box: Sandbox, proj: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the folder that Dropbox puts around everything, whatever case its path is typed in."""
    monkeypatch.setattr(by_file, "_ZIP_STARTS", -1.0)
    listener = Listener()
    sync("dropbox:/Proj", "dest", dry_run=True, progress=listener)
    assert listener.lines == ["dest: as a zip (105 kB), since 3 files would take longer one by one"]
    assert sorted(sync("dropbox:/Proj", "dest").added) == ["a.txt", "sub/b.csv", "sub/deep/c.bin"]
    assert texts(Path("dest")) == texts(proj)
    assert [request.path for request in box.requests if request.path in DOWNLOADS] == []
    assert sync("dropbox:/Proj", "dest").status == "up-to-date"
    with pytest.raises(LinkError, match="does not come as a zip"):
        sync("dropbox:/proj/a.txt", "x", via="zip")
    assert sync(OWN, "other", via="zip", exclude=["*.csv"]).added == ["a.txt", "sub/deep/c.bin"]


def test_where_dropbox_makes_no_zip_of_an_own_folder_it_comes_file_by_file(
    box: Sandbox, proj: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Because it is too large, or holds a folder that is called as it is itself."""
    monkeypatch.setattr(by_file, "_ZIP_STARTS", -1e9)
    box.fail_api("files/download_zip", status=409, error="too_large", times=None)
    listener = Listener()
    sync(OWN, "dest", progress=listener)
    assert texts(Path("dest")) == texts(proj)
    [line] = listener.lines
    assert "file by file" in line
    with pytest.raises(TransferError, match="leave --via out"):
        sync(OWN, "other", via="zip")
    box.heal_api()
    fill(proj, {"proj/a.txt": "another"})
    sync(OWN, "third")
    assert texts(Path("third")) == texts(proj)


def test_a_folder_of_very_many_files(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which Dropbox makes no zip: by itself after a login; without, a line says what to do."""
    folder = box.folder("many")
    for number in range(100):
        (folder / f"d{number}").mkdir()
        for each in range(100):
            (folder / f"d{number}" / f"{each}.txt").touch()
    link = box.folder_link("many")
    with pytest.raises(LinkError, match="after colab-magics login dropbox it comes file by file"):
        sync(link, "dest")
    box.log_in()
    assert len(sync(link, "dest").added) == 10_000


def test_what_changes_while_it_is_fetched_is_listed_again(box: Sandbox, proj: Path) -> None:
    """A file that was deleted or written anew between the listing and its download; what had come is not lost."""
    listener = Listener()
    box.fail_api("files/download", status=409, error="path/not_found")
    sync(OWN, "dest", progress=listener)
    assert texts(Path("dest")) == texts(proj)
    box.fail_api("files/download", body=b"other")
    fill(proj, {"a.txt": "A"})
    assert sync(OWN, "dest", progress=listener).updated == ["a.txt"]
    assert texts(Path("dest")) == texts(proj)
    assert listener.lines == ["dest: dropbox:/proj changed meanwhile; looking again"] * 2


def test_what_is_opened_online_alone_is_left_out(box: Sandbox, proj: Path) -> None:
    """A document of Paper or Google has no content to fetch; asked for by its path it says so."""
    fill(proj, {"plan.gdoc": "", "sub/notes.paper": ""})
    for link, dest in ((OWN, "own"), (box.folder_link(proj), "shared")):
        assert sorted(sync(link, dest, via="api").added) == ["a.txt", "sub/b.csv", "sub/deep/c.bin"]
    fill(proj, {"plan.gdoc": "something"})
    with pytest.raises(TransferError, match="opened online alone"):
        sync("dropbox:/proj/plan.gdoc")


def test_a_busy_dropbox_and_an_old_token_are_no_failure(box: Sandbox, proj: Path) -> None:
    """429, 503 and an access token that ends meanwhile; a login that was taken back says what to do."""
    box.fail_api("files/download", status=429, error="too_many_requests", retry_after=0, times=2)
    box.fail_api("files/download", status=503)
    box.fail_api("files/download", status=401, error="expired_access_token")
    sync(OWN, "dest")
    assert texts(Path("dest")) == texts(proj)
    fill(proj, {"a.txt": "A"})
    before = texts(Path("dest"))
    box.revoke_login()
    with pytest.raises(TokenError, match="log in again: colab-magics login dropbox"):
        sync(OWN, "dest")
    assert texts(Path("dest")) == before


def test_without_credentials_all_is_as_before(box: Sandbox) -> None:
    fill(box.folder("data"), {"x": "x"})
    link = box.folder_link("data")
    assert sync(link, "dest").added == ["x"]
    assert not any(request.path.startswith("/2/") for request in box.requests)
    with pytest.raises(TokenError, match="--via api needs a login"):
        sync(link, "dest", via="api")
    with pytest.raises(LinkError, match="folders of Dropbox"):
        sync(box.file_link("y", "y"), via="api")


def test_a_lock_is_shown_what_comes(box: Sandbox, proj: Path) -> None:
    """What is raised there leaves DEST as it was, as with a zip; both ways are the same to it."""
    seen: list[object] = []

    def approve(manifest: Manifest, _identity: str) -> None:
        seen.append({name: (record.size, record.crc) for name, record in manifest.files.items()})
        raise BlockingIOError

    for link, via in ((OWN, "api"), (box.folder_link(proj), "zip")):
        with pytest.raises((BlockingIOError, TransferError)):
            sync(link, "dest", via=via, approve=approve)
        assert not Path("dest").exists()
    assert seen[0] == seen[1]


class Held(threading.Event):
    """Holds an answer back, and tells when it does."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.is_held.set()
        return super().wait(timeout)


@pytest.mark.parametrize("after", [0, 7, 30])
def test_killed_anywhere_it_goes_on(box: Sandbox, proj: Path, after: int) -> None:
    """A process that dies amid its downloads leaves DEST as it was; the next run fetches what is not there yet."""
    sync(OWN, "dest")
    chance = random.Random(after)
    fill(proj, {f"many/{number}.bin": chance.randbytes(20_000).hex() for number in range(32)})
    before, held = texts(Path("dest")), Held()
    box.fail_api("files/download", skip=after, delay=held, delay_at=30_000, times=None)
    box.clear_requests()
    code = "from colab_magics.core import sync; sync('dropbox:/proj', 'dest', via='api')"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        assert held.is_held.wait(60)
        process.kill()
    held.set()
    box.heal_api()
    assert texts(Path("dest")) == before
    result = sync(OWN, "dest")
    assert texts(Path("dest")) == texts(proj)
    assert len(result.added) == 32
    # Eight are on their way at a time: all others had come, and were proved.
    assert result.bytes_received <= (32 - max(0, after - 8)) * 40_000


def test_an_interrupt_ends_all_that_is_fetched(box: Sandbox, proj: Path) -> None:
    """Although no server answers any longer: one line says what is kept, and the next run goes on from there."""
    held = Held()
    box.fail_api("files/download", skip=2, delay=held, delay_at=30_000, times=None)
    fill(proj, {f"many/{number}.bin": f"{number:05}" * 10_000 for number in range(20)})
    command = [sys.executable, "-m", "colab_magics", "sync", OWN, "dest", "--via=api"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert held.is_held.wait(60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert not held.is_set(), "it did not wait for the answers"
    held.set()
    box.heal_api()
    assert process.returncode == 130
    assert re.fullmatch(r"interrupted; run it again to complete it( \(.* of it are kept\))?\n", said)
    assert not Path("dest").exists()
    sync(OWN, "dest")
    assert texts(Path("dest")) == texts(proj)
