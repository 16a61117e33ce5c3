"""What is installed, and what of it is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from dists import git_url, put

from colab_magics.core.packages import installed, stale_modules


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


def test_an_imported_module_is_stale_when_its_file_changed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when it is merely as it was; packages are named, and namespaces are not; what vanished is stale."""
    monkeypatch.setattr("colab_magics.core.packages.stale_modules._site_folders", lambda: {str(site)})
    for path in ("zz_pack/__init__.py", "zz_pack/part.py", "zz_space/inner/__init__.py", "zz_same.py", "zz_gone.py"):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text("x = 1\n")
    import zz_gone
    import zz_pack.part
    import zz_same
    import zz_space.inner

    before = stale_modules.imported()
    assert {"zz_pack", "zz_pack.part", "zz_space.inner", "zz_same", "zz_gone"} == set(before)
    (site / "zz_pack" / "part.py").write_text("x = 2\n")
    (site / "zz_space" / "inner" / "__init__.py").write_text("x = 2\n")
    (site / "zz_same.py").write_text("x = 1\n")
    (site / "zz_gone.py").unlink()
    assert stale_modules.stale(before, {}, {}) == ["zz_gone", "zz_pack", "zz_space.inner"]
    for module in (zz_gone, zz_pack, zz_pack.part, zz_same, zz_space, zz_space.inner):
        monkeypatch.delitem(sys.modules, module.__name__)


def test_a_module_that_lay_elsewhere_is_stale(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was imported from a clone or the working folder, and the installed one is another file."""
    (tmp_path / "zz_lib.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import zz_lib

    before = stale_modules.imported()
    info = put(site, "zz-lib")
    (info / "RECORD").write_text("zz_lib.py,,\n")
    (site / "zz_lib.py").write_text("x = 2\n")
    monkeypatch.syspath_prepend(str(site))
    after = {"zz-lib": installed.snapshot()["zz-lib"]}
    assert stale_modules.stale(before, {}, after) == ["zz_lib"]
    assert stale_modules.stale(before, after, after) == []
    monkeypatch.delitem(sys.modules, zz_lib.__name__)
