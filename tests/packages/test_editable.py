"""Packages that are developed in place: where clones lie, and that they are what is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Venv
from ends import ONE_VARIANT
from installing import INSTALLERS, Place, repacked

from colab_magics.sandbox import Sandbox

#: The most common of all: setuptools, with the package at the top.
FLAT = {
    "pyproject.toml": "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
    "[project]\nname = 'flatlib'\nversion = '1.0'\n",
    "flatlib/__init__.py": "answer = 1\n",
}
SHOW = "import flatlib; print('at', flatlib.__file__)"


@pytest.fixture(params=INSTALLERS)
def either(request: pytest.FixtureRequest, venv: Venv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A virtual environment, once for pip and once for uv, with setuptools to build with."""
    wheels = str(repacked("setuptools", tmp_path / "wheels"))
    monkeypatch.setenv("PIP_FIND_LINKS", wheels)
    monkeypatch.setenv("UV_FIND_LINKS", wheels)
    return Place(venv, tmp_path / "temp", request.param)


def imported(place: Place) -> str:
    """Return what a fresh process imports."""
    return place.venv.run(SHOW).stdout.strip()


@pytest.mark.parametrize("options", [""] if ONE_VARIANT else ["", "src='.'", "folder"])
def test_a_flat_package_is_imported_from_its_clone(options: str, either: Place, box: Sandbox) -> None:
    """At once, in the process that installed it and had imported the folder, and in a fresh one; again it is done."""
    flat = box.private_repo("acme/flatlib", FLAT)
    clone = Path("flatlib") if options else Path("src/flatlib")
    spec, more = repr(flat.spec), options or "src=None"
    if options == "folder":
        spec, more = "'./flatlib'", "src=None"
        subprocess.run(["git", "clone", "-q", str(flat.folder), "flatlib"], check=True)
        subprocess.run(["git", "remote", "set-url", "origin", flat.url], cwd="flatlib", check=True)
    before = "try: import flatlib\nexcept ImportError: pass\n"
    ran = either.run(f"{before}install({spec}, editable=True, {more})\n{SHOW}")
    expected = f"at {clone.absolute() / 'flatlib/__init__.py'}"
    assert expected in ran.output
    assert imported(either) == expected
    assert not (Path("src").exists() and options)
    assert either.run(f"install({spec}, editable=True, {more})")["status"] == "up-to-date"


def test_a_clone_that_is_gone_is_made_again(either: Place, box: Sandbox) -> None:
    """Though what was installed of it stands where it was."""
    lib = box.private_repo("acme/secretlib", code="answer = 1\n")
    either.run(f"install({lib.spec!r}, editable=True)")
    shutil.rmtree("src/secretlib")
    assert either.run(f"install({lib.spec!r}, editable=True)")["status"] == "installed"
    assert either.venv.run("import secretlib; print(secretlib.answer)").stdout == "1\n"
    assert os.listdir("src") == ["secretlib"]


@pytest.mark.parametrize("layout", ["flatlib"] if ONE_VARIANT else ["flatlib", "src/flatlib"])
def test_a_clone_elsewhere_is_what_is_imported_at_once(layout: str, either: Place, box: Sandbox) -> None:
    """By the process in which the earlier clone counted; where that was imported it says that a restart is needed."""
    flat = box.private_repo("acme/flatlib", {"pyproject.toml": FLAT["pyproject.toml"], f"{layout}/__init__.py": ""})
    ran = either.run(
        f"install({flat.spec!r}, editable=True, src='one')\n"
        f"install({flat.spec!r}, editable=True, src='two')\n{SHOW}\n"
        f"install({flat.spec!r}, editable=True, src='three')"
    )
    assert f"at {Path('two/flatlib', layout, '__init__.py').absolute()}" in ran.output
    assert [answer["stale"] for answer in ran.answers] == [[], [], ["flatlib"]]
