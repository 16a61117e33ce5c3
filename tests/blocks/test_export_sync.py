"""What an exported script does with share links."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from ends import ONE_VARIANT
from scripts import SHELLS, play, programs, recording, tree, watched

from colab_magics import sandbox
from colab_magics.core import Settings, bootstrap


def fill(box: sandbox.Sandbox) -> dict[str, str]:
    """Put a dataset, a project, an archive and a file into the sandbox; return their links as variables."""
    data = box.folder("data sét")
    (data / "sub dir" / "deep").mkdir(parents=True)
    (data / "empty").mkdir()
    (data / "é ü.txt").write_text("text")
    (data / "sub dir" / 'it\'s "a" $file.bin').write_bytes(bytes(range(256)) * 40)
    (data / "sub dir" / "deep" / " lead.csv").write_text("1,2\n")
    os.utime(data / "é ü.txt", (1_500_000_000, 1_500_000_000))
    project = box.folder("project")
    (project / "data").mkdir()
    (project / "main.py").write_text("print('hello')\n")
    (project / "data" / "working").write_text("/somewhere/else/working")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        info = zipfile.ZipInfo("top/run.sh", (2020, 2, 2, 2, 2, 2))
        info.external_attr = 0o100755 << 16
        archive.writestr(info, "#!/bin/sh\n")
        archive.writestr("top/plain", "plain")
    (box.root / "a.zip").write_bytes(packed.getvalue())
    return {
        "DATA": box.folder_link(data),
        "PROJECT": box.folder_link(project),
        "FILE": box.file_link("notes é.txt", "notes"),
        "ZIP": box.file_link(box.root / "a.zip"),
    }


BLOCK = """
dropbox_sync $DATA 'my data' --once
dropbox_sync $PROJECT proj          # updated each time
dropbox_sync $FILE proj
dropbox_sync $FILE 'my data/renamed.txt' --sha256 1d6ae5cdbb1d5b9e2b8f1dd8c5ed5b9ca91d3a1e2bd6be4ff7c9b86ee0ccb8b4
dropbox_sync $FILE
dropbox_sync $ZIP unpacked --unpack
dropbox_sync $ZIP
dropbox_sync $DATA chosen --include 'sub dir' --exclude '*.csv'
symlink 'my data' proj/data/input
symlink drive:exp/working proj/data/working
run --in 'my data' sh -c 'ls > listing; echo "$GREETING" > greeting'
run echo $GREETING > said.txt
"""


@pytest.fixture
def block() -> str:
    return re.sub(r"(?<=--sha256 )\w+", hashlib.sha256(b"notes").hexdigest(), BLOCK)


@pytest.mark.parametrize(
    ("shell", "fetcher", "unpacker"),
    [
        ("dash", "curl", "unzip"),
        ("dash", "wget", "python3"),
        *([] if ONE_VARIANT else [("bash", "curl", "python3"), ("bash", "wget", "unzip")]),
    ],
)
def test_it_does_what_the_block_does(
    shell: str,
    fetcher: str,
    unpacker: str,
    box: sandbox.Sandbox,
    block: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same names, contents, times, rights and links, with either download program, unpacker and shell; twice."""
    links = fill(box)
    (tmp_path / "drive here").mkdir()
    monkeypatch.setenv("COLAB_MAGICS_DRIVE_ROOT", str(tmp_path / "drive here"))
    monkeypatch.setenv("GREETING", "it's $me")
    environ = {**links, "PATH": programs(tmp_path / "bin", fetcher, unpacker), "LC_ALL": "C"}
    ours, theirs = tmp_path / "b l o c k" / "x", tmp_path / "s c r i p t" / "x"
    ours.mkdir(parents=True)
    monkeypatch.chdir(ours)
    for number in range(2):
        bootstrap(block, variables=links, settings=Settings.load())
        done = play(block, theirs, shell=shell, **environ)
        assert done.status == 0, done.output
        made, wanted = tree(theirs), tree(ours)
        for name in ("said.txt", "my data/greeting"):
            assert made.pop(name)[1] == wanted.pop(name)[1] == b"it's $me\n"
        del made["my data/listing"], wanted["my data/listing"]
        assert made == wanted
        # The second time the dataset is left alone, and the project changes as the link does.
        (box.folder("data sét") / "new.txt").write_text("new")
        (box.folder("project") / "main.py").write_text(f"print({number})\n")
        for place in (ours, theirs):
            (place / "proj" / "own.txt").write_text("mine")
    assert "line 2: dropbox_sync: up to date" in done.output
    assert "line 3: dropbox_sync: 0 added, 1 updated" in done.output
    assert "line 4: dropbox_sync: up to date" in done.output
    assert "line 10: symlink: up to date" in done.output


def test_the_second_run_asks_nothing_for_a_dataset(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """With --once nothing is set in motion, wherever DEST comes from, until a file is missing."""
    links = fill(box)
    text = "dropbox_sync $DATA --once\ndropbox_sync $FILE --once\ndropbox_sync $DATA 'a b' --once\n"
    assert play(text, tmp_path / "w", **links).status == 0
    box.clear_requests()
    done = play(text, tmp_path / "w", **links)
    assert [line.partition(": ")[2] for line in done.output.splitlines()] == ["dropbox_sync: up to date"] * 3
    assert box.requests == []
    (tmp_path / "w" / "a b" / "é ü.txt").unlink()
    (tmp_path / "w" / "a b" / "sub dir" / "deep" / " lead.csv").write_text("mine")
    done = play(text, tmp_path / "w", **links)
    assert "line 3: dropbox_sync: 1 added, 0 updated, 2 unchanged" in done.output
    assert (tmp_path / "w" / "a b" / "é ü.txt").read_text() == "text"
    assert (tmp_path / "w" / "a b" / "sub dir" / "deep" / " lead.csv").read_text() == "mine"


@pytest.mark.parametrize("shell", SHELLS)
def test_changes_of_the_user_survive(shell: str, box: sandbox.Sandbox, tmp_path: Path) -> None:
    """A changed file is kept before it is replaced; --mirror removes only what a sync wrote; links are layout."""
    folder = box.folder("p")
    for name in ("same", "changed", "gone", "gone too", "layout", "kind"):
        (folder / name).write_text(name)
    (folder / "old").mkdir()
    (folder / "old" / "x").write_text("x")
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text("1")
    link = box.folder_link("p")
    work = tmp_path / "w"
    text = "dropbox_sync $LINK 'd e' --mirror"
    assert play(text, work, shell=shell, LINK=link).status == 0
    dest = work / "d e"
    (work / "elsewhere").mkdir()
    (work / "elsewhere" / "file").write_text("untouched")
    shutil.rmtree(dest / "inner")
    (dest / "inner").symlink_to(work / "elsewhere")
    (dest / "layout").unlink()
    (dest / "layout").symlink_to(work / "elsewhere" / "file")
    (dest / "changed").write_text("by me")
    (dest / "changed").chmod(0o750)
    (dest / "gone too").write_text("by me too")
    (dest / "mine").write_text("mine")
    for name in ("gone", "gone too"):
        (folder / name).unlink()
    shutil.rmtree(folder / "old")
    (folder / "kind").unlink()
    (folder / "kind").mkdir()
    (folder / "kind" / "now").write_text("a folder")
    (folder / "changed").write_text("by them")
    (folder / "inner" / "file").write_text("2")
    (folder / "layout").write_text("2")
    done = play(text, work, shell=shell, LINK=link)
    assert done.status == 0, done.output
    found = {name: entry[1] for name, entry in tree(dest).items() if entry[0] == "file"}
    assert found == {
        "same": b"same",
        "changed": b"by them",
        "kind/now": b"a folder",
        "mine": b"mine",
        ".colab_magics/backup/changed": b"by me",
        ".colab_magics/backup/gone too": b"by me too",
        ".colab_magics/backup/kind": b"kind",
    }
    assert not (dest / "old").exists()
    assert (dest / "changed").stat().st_mode & 0o777 == 0o750
    assert (work / "elsewhere" / "file").read_text() == "untouched"
    assert (dest / "layout").is_symlink()
    again = play(text, work, shell=shell, LINK=link)
    assert "dropbox_sync: up to date" in again.output


def test_a_changed_file_of_a_file_link_is_kept(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """Beside it, as for a folder; --once leaves it as it is, and --force asks again what is complete."""
    link, work = box.file_link("n.txt", "one"), tmp_path / "w"
    assert play("dropbox_sync $L 'a b/n.txt'", work, L=link).status == 0
    (work / "a b" / "n.txt").write_text("mine")
    assert "up to date" in play("dropbox_sync $L 'a b/n.txt' --once", work, L=link).output
    assert (work / "a b" / "n.txt").read_text() == "mine"
    box.clear_requests()
    assert play("dropbox_sync $L 'a b/n.txt' --once --force", work, L=link).status == 0
    assert box.requests != []
    done = play("dropbox_sync $L 'a b/'", work, L=link)
    assert "0 added, 1 updated" in done.output
    assert (work / "a b" / "n.txt").read_text() == "one"
    assert (work / "a b" / ".colab_magics" / "backup" / "n.txt").read_text() == "mine"


@pytest.mark.parametrize("fetcher", ["curl", "wget"])
@pytest.mark.parametrize("exempt", ["no_proxy", "NO_PROXY"])
def test_what_is_on_this_machine_is_asked_past_a_proxy(
    exempt: str, fetcher: str, box: sandbox.Sandbox, tmp_path: Path
) -> None:
    """A proxy would see the link's key; what the environment exempts from it besides stays so."""
    fill(box)
    dead = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    environ = {"PATH": programs(tmp_path / "bin", fetcher, "unzip"), "LINK": box.folder_link("project"), **dead}
    done = play(
        f"dropbox_sync $LINK proj\nrun echo ${exempt} > said.txt", tmp_path / "w", **environ, **{exempt: "example.org"}
    )
    assert done.status == 0, done.output
    assert (tmp_path / "w" / "said.txt").read_text() == "example.org\n"


@pytest.mark.parametrize("fetcher", ["curl", "wget"])
def test_failures_of_a_download_leave_the_folder_alone(fetcher: str, box: sandbox.Sandbox, tmp_path: Path) -> None:
    """A page, a status, a cut connection, a password: each says what it is, and what was there stays as it was."""
    fill(box)
    environ = {"PATH": programs(tmp_path / "bin", fetcher, "unzip"), "LINK": box.folder_link("project")}
    text = "\ndropbox_sync $LINK proj"
    work = tmp_path / "w"
    assert play(text, work, **environ).status == 0
    before = tree(work)
    for failure, message in (
        ({"page": "gone"}, "is gone (404)"),
        ({"page": "restricted"}, "may not be read"),
        ({"page": "too-large"}, "answers with a web page ('Dropbox - Zip file too large')"),
        ({"page": "login"}, "answers with a web page ('Login - Dropbox')"),
        ({"page": "traffic"}, "the traffic of"),
        ({"body": b"no zip", "content_type": "application/zip"}, "did not answer with a zip"),
        ({"body": b"PK\x03\x04 damaged", "content_type": "application/zip"}, "whole"),
    ):
        box.fail(environ["LINK"], **failure)  # type: ignore[arg-type]
        done = play(text, work, again=True, **environ)
        assert (done.status, done.last) == (1, "line 2: dropbox_sync failed"), done.output
        assert message in done.output
        assert tree(work) == before
    box.fail(environ["LINK"], cut_after=100, times=1)
    done = play(text, work, again=True, **environ)
    assert done.status == 0, done.output
    assert "trying again (1 of 4)" in done.output


@pytest.mark.parametrize("fetcher", ["curl", "wget"])
def test_passwords_redirectors_and_named_secrets(fetcher: str, box: sandbox.Sandbox, tmp_path: Path) -> None:
    """A protected link opens with its password, a short link leads on, and a secret may be in the token file."""
    (box.folder("p") / "file").write_text("content")
    link = box.folder_link("p", password="open & sesame=é")
    box.add_secret("A.LINK", box.redirector(box.folder_link("p")))
    work = tmp_path / "w"
    environ = {
        "PATH": programs(tmp_path / "bin", fetcher, "python3"),
        "COLAB_MAGICS_SECRET_WORD": "open & sesame=é",
        "L": link,
    }
    done = play("dropbox_sync $L a --password secret:WORD\ndropbox_sync secret:A.LINK b", work, **environ)
    assert done.status == 0, done.output
    assert [(work / name / "file").read_text() for name in "ab"] == ["content", "content"]
    done = play(
        "dropbox_sync $L c --password secret:WORD", work, **{**environ, "COLAB_MAGICS_SECRET_WORD": "wrong word"}
    )
    assert done.status == 1
    assert "does not accept its password" in done.output
    done = play("dropbox_sync secret:NOWHERE c", work, **environ)
    assert (done.status, done.last) == (1, "line 1: dropbox_sync failed")
    assert "COLAB_MAGICS_SECRET_NOWHERE" in done.output


@pytest.mark.parametrize("unpacker", ["unzip", "python3"])
def test_archives_are_unpacked_safely(unpacker: str, box: sandbox.Sandbox, tmp_path: Path) -> None:
    """A tar keeps its links and rights; a member or link that leads out of the folder stops everything."""
    environ = {"PATH": programs(tmp_path / "bin", "curl", unpacker)}
    good = tmp_path / "good.tar.gz"
    with tarfile.open(good, "w:gz") as archive:
        for name, mode in (("bin/run", 0o755), ("plain", 0o600)):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = 4, mode, 1_500_000_000
            archive.addfile(info, io.BytesIO(b"text"))
        info = tarfile.TarInfo("bin/link")
        info.type, info.linkname = tarfile.SYMTYPE, "../plain"
        archive.addfile(info)
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as archive_zip:
        archive_zip.writestr("../outside", "x")
    out = tmp_path / "out.tar"
    with tarfile.open(out, "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "../outside"
        archive.addfile(info)
    work = tmp_path / "w"
    assert play("dropbox_sync $L d --unpack", work, **environ, L=box.file_link(good)).status == 0
    found = tree(work / "d")
    assert found["bin/run"] == ("file", b"text", 0o755, 1_500_000_000)
    assert found["plain"] == ("file", b"text", 0o644, 1_500_000_000)
    assert os.readlink(work / "d" / "bin" / "link") == "../plain"
    for path in (bad, out):
        done = play("dropbox_sync $L e --unpack", work, **environ, L=box.file_link(path))
        assert (done.status, done.last) == (1, "line 1: dropbox_sync failed"), done.output
        assert "nothing was written" in done.output
        assert not (work / "e").exists()
    assert not (work / "outside").exists()
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(("shell", "fetcher"), [("dash", "wget"), ("bash", "curl")])
def test_no_program_is_shown_a_secret(shell: str, fetcher: str, box: sandbox.Sandbox, tmp_path: Path) -> None:
    """Neither arguments nor environment of any program hold a link's key, wherever the link comes from."""
    links = fill(box)
    box.add_secret("FROM_FILE", links["PROJECT"])
    keys = re.findall(r"rlkey=(\w+)", " ".join(links.values()))
    text = "dropbox_sync $DATA a\ndropbox_sync secret:FROM_FILE b\ndropbox_sync secret:FROM_ENV c\n"
    text += f"dropbox_sync '{links['FILE']}'\n"
    work, log = tmp_path / fetcher / "w", tmp_path / f"{fetcher}.log"
    path = programs(tmp_path / fetcher / "bin", fetcher, "unzip", "python3")
    told = [fetcher, "awk", "sed", "unzip", "od", "tr", "cksum", "mv", "grep"]
    path = recording(tmp_path / fetcher / "told", path, log, told)
    # Names that the script has for itself must not carry a secret out because they were exported before.
    environ = {"PATH": path, "DATA": links["DATA"], "value": "x", "entry": "y", "link": "z", "line": "9"}
    environ["COLAB_MAGICS_SECRET_FROM_ENV"] = links["DATA"]
    with watched(*keys, script="w script.sh") as leaks:
        done = play(text, work, shell=shell, **environ)
    assert done.status == 0, done.output
    assert leaks == []
    seen = log.read_text(errors="replace")
    assert fetcher in seen
    assert not [key for key in keys if key in seen or key in done.output]


def test_a_script_that_dies_is_completed_by_the_next(
    box: sandbox.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any of its moves, it leaves whole files, and the next run brings what is missing and nothing else."""
    folder = box.folder("p")
    for name in ("a", "b", "c"):
        (folder / name).write_text(f"old {name}")
    text, link, work = "dropbox_sync $LINK dest --mirror", box.folder_link("p"), tmp_path / "w"
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    assert play(text, work, LINK=link).status == 0
    (folder / "a").unlink()
    (folder / "b").write_text("new b")
    (folder / "d").write_text("new d")
    (work / "dest" / "c").write_text("mine")
    shutil.copytree(work / "dest", tmp_path / "before")
    mover = tmp_path / "bin" / "mv"
    mover.parent.mkdir()
    for number in range(1, 50, 3):
        shutil.rmtree(work / "dest")
        shutil.copytree(tmp_path / "before", work / "dest")
        (tmp_path / "count").write_text("")
        mover.write_text(
            f"#!/bin/sh\nprintf x >>{tmp_path}/count\n"
            f'[ "$(wc -c <{tmp_path}/count)" -lt {number} ] || exec kill -9 $PPID\nexec {shutil.which("mv")} "$@"\n'
        )
        mover.chmod(0o755)
        path = f"{mover.parent}:{os.environ['PATH']}"
        died = play(text, work, again=True, clean=False, LINK=link, PATH=path).status != 0
        files = {name: entry[1] for name, entry in tree(work / "dest").items() if entry[0] == "file"}
        assert set(files.values()) <= {b"old a", b"old b", b"new b", b"new d", b"old c", b"mine"}
        assert b"mine" in files.values()
        assert play(text, work, again=True, LINK=link).status == 0
        files = {name: entry[1] for name, entry in tree(work / "dest").items() if entry[0] == "file"}
        assert files == {"b": b"new b", "c": b"old c", "d": b"new d", ".colab_magics/backup/c": b"mine"}
        if not died:
            break
    assert number > 4
