"""What is installed, and whether requirements hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from colab_magics.core import installed, requirements, stale


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of distributions that comes first on the path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def put(site: Path, name: str, version: str = "1.0", requires: tuple[str, ...] = (), url: object = None) -> Path:
    """Write a distribution's metadata."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    extras = {text.rpartition("== ")[2].strip("'\"") for text in requires if "extra" in text}
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    lines += [f"Provides-Extra: {extra}" for extra in sorted(extras)] + [f"Requires-Dist: {text}" for text in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    if url is not None:
        (info / "direct_url.json").write_text(url if isinstance(url, str) else json.dumps(url))
    return info


COMMIT = "1" * 40


def git_url(url: str, commit: str = COMMIT, **more: str) -> dict[str, object]:
    """What pip records of an installation from git."""
    return {"url": url, "vcs_info": {"vcs": "git", "commit_id": commit}, **more}


def test_a_snapshot_tells_where_each_came_from(site: Path, tmp_path: Path) -> None:
    """An index, a repository, a part of one, a folder; broken records are passed over, and names are comparable."""
    put(site, "Plain-Lib")
    put(site, "lib", url=git_url("https://github.com/acme/lib.git"))
    put(site, "part", url=git_url("ssh://git@github.com/acme/mono", subdirectory="pkg"))
    put(site, "folder", url={"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    put(site, "wheel", url={"url": "http://example.org/x.whl", "archive_info": {}})
    put(site, "broken", url="{")
    put(site, "odd", url=[])
    put(site, "dashed.name")
    old = site / "old-1.0-py3.egg-info"
    old.mkdir()
    (old / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: old\nVersion: 1.0\n")
    found = installed.snapshot()
    assert (found["plain-lib"].name, found["plain-lib"].version, found["plain-lib"].url) == ("Plain-Lib", "1.0", "")
    assert {"broken", "odd", "old", "dashed-name"} <= set(found)
    dists = found.values()

    def of(url: str, subdirectory: str | None = None) -> str | None:
        dist = installed.from_repository(dists, url, subdirectory)
        return dist.key if dist else None

    assert of("https://github.com/Acme/Lib") == "lib"
    assert of("https://github.com/acme/mono.git", "pkg") == "part"
    assert of("https://github.com/acme/mono.git") is of("https://github.com/acme/lib", "pkg") is None
    assert of("https://example.org/x.whl") is None
    folder = installed.from_folder(dists, tmp_path / "." / "x" / "..")
    assert folder
    assert (folder.key, folder.editable) == ("folder", True)
    assert found["lib"].is_at("1111111")
    assert not found["lib"].is_at("2")
    assert not found["plain-lib"].is_at("")


def test_requirements_hold_when_all_of_the_tree_does(site: Path) -> None:
    """Versions, extras, markers, circles, and what is not there."""
    put(site, "top", requires=("mid>=1", "never; python_version < '3'", "gone; extra == 'more'"))
    put(site, "mid", version="2.0rc1", requires=("top", "leaf[x]"))
    put(site, "leaf", requires=("deep; extra == 'x'",))
    put(site, "deep")
    put(site, "torn", requires=("missing",))
    for text in ("top", "TOP>=1", "mid<3", "leaf[x]", "absent; python_version < '3'", "deep==1.*"):
        assert installed.requirement_holds(text), text
    for text in (
        "top[more]",
        "top>1",
        "torn",
        "absent",
        "mid>=2",
        "./deep",
        "-e deep",
        "",
        "deep @ https://x.org/d.whl",
    ):
        assert not installed.requirement_holds(text), text


def test_an_address_holds_at_its_whole_commit_only(site: Path) -> None:
    """A branch or a tag may have moved since."""
    put(site, "lib", url=git_url("https://github.com/acme/lib.git"))
    put(site, "wheel", url={"url": "https://example.org/wheel.whl", "archive_info": {}})
    assert installed.requirement_holds(f"lib @ git+ssh://git@github.com/acme/lib@{COMMIT}")
    assert installed.requirement_holds("wheel @ https://example.org/wheel.whl")
    for tail in ("", "@main", f"@{COMMIT[:7]}", f"@{'2' * 40}"):
        assert not installed.requirement_holds(f"lib @ git+https://github.com/acme/lib{tail}")
    assert not installed.requirement_holds(f"lib @ git+https://github.com/other/lib@{COMMIT}")


def test_the_arguments_of_pip_hold_when_nothing_is_left_to_do(site: Path) -> None:
    """Names, files, nested files, constraints; anything that cannot be proved does not hold."""
    put(site, "one")
    put(site, "two", version="2.0")
    Path("sub").mkdir()
    Path("r.txt").write_text("one\n--index-url https://x.org/simple\n-r sub/r.txt\ntwo==2.0 --hash=sha256:aa\n")
    Path("sub/r.txt").write_text("-c limits.txt\ntwo\n")
    Path("sub/limits.txt").write_text("two<3\nabsent==1\none==5; python_version < '3'\n")
    Path("circle.txt").write_text("one\n-r circle.txt\n")
    for words in (["one"], ["one", "two>1"], ["-r", "r.txt"], ["-rr.txt"], ["--requirement=r.txt", "one"],
                  ["-q", "one"], ["one", "-c", "sub/limits.txt"]):  # fmt: skip
        assert installed.arguments_hold(words), words
    for words in ([], ["-q"], ["three"], ["-U", "one"], ["./one"], ["-r", "none.txt"], ["-r"], ["-r", "circle.txt"],
                  ["--force-reinstall", "one"], ["one", "three"], ["-c", "sub/limits.txt"]):  # fmt: skip
        assert not installed.arguments_hold(words), words
    Path("sub/limits.txt").write_text("two<2\n")
    assert not installed.arguments_hold(["-r", "r.txt"])
    assert not installed.lines_hold(requirements.read(Path("r.txt")).others)
    Path("sub/limits.txt").write_text("two\n")
    assert installed.lines_hold(requirements.read(Path("r.txt")).others)


def test_an_imported_module_is_stale_when_its_file_changed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when it is merely as it was; packages are named, and namespaces are not; what vanished is stale."""
    monkeypatch.setattr("colab_magics.core.stale._site_folders", lambda: {str(site)})
    for path in ("zz_pack/__init__.py", "zz_pack/part.py", "zz_space/inner/__init__.py", "zz_same.py", "zz_gone.py"):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text("x = 1\n")
    import zz_gone
    import zz_pack.part
    import zz_same
    import zz_space.inner

    before = stale.imported()
    assert {"zz_pack", "zz_pack.part", "zz_space.inner", "zz_same", "zz_gone"} == set(before)
    (site / "zz_pack" / "part.py").write_text("x = 2\n")
    (site / "zz_space" / "inner" / "__init__.py").write_text("x = 2\n")
    (site / "zz_same.py").write_text("x = 1\n")
    (site / "zz_gone.py").unlink()
    assert stale.stale(before, []) == ["zz_gone", "zz_pack", "zz_space.inner"]
    for module in (zz_gone, zz_pack, zz_pack.part, zz_same, zz_space, zz_space.inner):
        monkeypatch.delitem(sys.modules, module.__name__)


def test_a_module_that_lay_elsewhere_is_stale(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was imported from a clone or the working folder, and the installed one is another file."""
    (tmp_path / "zz_lib.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import zz_lib

    before = stale.imported()
    info = put(site, "zz-lib")
    (info / "RECORD").write_text("zz_lib.py,,\n")
    (site / "zz_lib.py").write_text("x = 2\n")
    monkeypatch.syspath_prepend(str(site))
    assert stale.stale(before, ["zz-lib"]) == ["zz_lib"]
    assert stale.stale(before, []) == []
    monkeypatch.delitem(sys.modules, zz_lib.__name__)
