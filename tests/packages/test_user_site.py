"""An ordinary user: where the interpreter's packages may not be written they go where pip puts a user's own."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Venv
from installing import find_uv

from colab_magics.sandbox import Sandbox

PREAMBLE = """
import json, site, sys
from colab_magics import core
from colab_magics.core import Settings
from colab_magics.core.packages import install as packages
from colab_magics.errors import ColabMagicsError
settings = Settings.load()
def install(*specs, **options):
    return core.install(specs, settings=settings, **options)
"""
UV = pytest.mark.skipif(find_uv() is None, reason="uv is not installed")
WAYS = ["pip", pytest.param("auto", marks=UV), pytest.param("uv", marks=UV)]


def powerless() -> None:
    """Be an ordinary user: root may not write what its rights forbid any longer."""
    if os.getuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH; out of the bounding set, gone with exec
            assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0


@pytest.fixture
def locked(venv: Venv) -> Iterator[Venv]:
    """An environment that sees the user's own folder, and may not be written."""
    config = venv.python.parents[1] / "pyvenv.cfg"
    config.write_text(config.read_text().replace("packages = false", "packages = true"))
    venv.site_packages.chmod(0o555)
    yield venv
    venv.site_packages.chmod(0o755)


def run(venv: Venv, code: str, installer: str) -> str:
    path = os.environ["PATH"] if installer == "pip" else f"{Path(find_uv() or '').parent}:{os.environ['PATH']}"
    environ = {**os.environ, "COLAB_MAGICS_INSTALLER": installer, "PATH": path}
    command = [str(venv.python), "-c", PREAMBLE + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, preexec_fn=powerless)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("installer", WAYS)
def test_packages_go_to_the_users_own_folder(installer: str, locked: Venv, box: Sandbox) -> None:
    """Which is made, counts at once and before the interpreter's own, and is found again; as `pip install` does."""
    lib, tool = box.private_repo("acme/secretlib", code="answer = 42\n"), box.private_repo("acme/tool")
    code = (
        "user = site.getusersitepackages(); assert user not in sys.path\n"
        f"result = install({lib.spec!r})\nimport secretlib\n"
        "own = [number for number, path in enumerate(sys.path) if path.startswith(sys.prefix)]\n"
        "print(json.dumps([result.status, secretlib.answer, secretlib.__file__.startswith(user),"
        " sys.path.index(user) < own[0]]))\n"
        f"print(json.dumps(install({lib.spec!r}).status))\n"
        f"packages.pip_install(['git+{tool.url}'], settings=settings)\nimport tool; print(json.dumps(tool.__file__))"
    )
    first, again, other = map(json.loads, run(locked, code, installer).splitlines()[-3:])
    assert first == ["installed", 42, True, True]
    assert again == "up-to-date"
    assert other.startswith(str(Path.home() / ".local"))


@pytest.mark.parametrize("installer", WAYS)
def test_an_editable_package_does_too(installer: str, locked: Venv, box: Sandbox) -> None:
    """Its path is in a file there."""
    lib = box.private_repo("acme/secretlib", code="answer = 42\n")
    code = f"install({lib.spec!r}, editable=True)\nimport secretlib; print(secretlib.__file__)"
    assert run(locked, code, installer).splitlines()[-1].startswith(str(Path("src").absolute()))


@pytest.mark.parametrize("installer", WAYS)
def test_where_there_is_none_it_is_said(installer: str, locked: Venv, box: Sandbox) -> None:
    """In a virtual environment of somebody else's: in one line, before anything is fetched."""
    config = locked.python.parents[1] / "pyvenv.cfg"
    config.write_text(config.read_text().replace("packages = true", "packages = false"))
    lib = box.private_repo("acme/secretlib")
    code = f"try: install({lib.spec!r})\nexcept ColabMagicsError as error: print(error)"
    message = run(locked, code, installer).strip()
    assert message.startswith(f"{locked.site_packages} may not be written")
    assert "\n" not in message
