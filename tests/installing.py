"""Runs installations in a virtual environment of their own, as a child process that a test can look into."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from conftest import Venv
from ends import ONE_VARIANT

from colab_magics.sandbox import package

_PRELUDE = """
import importlib, json, sys
from colab_magics import core, masking
from colab_magics.core import Settings
from colab_magics.core.common.progress import Silent
from colab_magics.errors import ColabMagicsError

class Told(Silent):
    def __init__(self): self.said = []
    def say(self, text): self.said.append(text)

answers = []
def install(*specs, asking=None, **options):
    told = Told()
    try:
        result = core.install(specs, settings=Settings.load(ask=asking), progress=told, **options)
    except ColabMagicsError as error:
        context, shown = error, []
        while context is not None:
            shown.append(repr(context) + repr(vars(context)))
            context = context.__context__
        print(error, file=sys.stderr)
        answers.append({"error": type(error).__name__, "message": str(error), "context": shown, "said": told.said})
        return None
    answers.append({
        "packages": [vars(package) for package in result.packages],
        "status": result.status, "stale": result.stale, "restart_needed": result.restart_needed,
        "also": result.also, "repr": repr(result), "said": told.said,
    })
    return result

"""
_END = "\nprint('\\n' + json.dumps(answers))\n"


@dataclass
class Ran:
    """What a child process did: its answers in their order, and all that it printed."""

    answers: list[dict[str, Any]]
    output: str

    def __getitem__(self, key: str) -> Any:
        return self.answers[-1][key]

    @property
    def message(self) -> str:
        """The last answer's message."""
        return str(self["message"])


class Place:
    """A virtual environment with a temporary folder of its own, into which one installer installs.

    Attributes
    ----------
    venv : Venv
        It.
    temp : Path
        Its ``TMPDIR``.
    """

    def __init__(self, venv: Venv, temp: Path, installer: str = "pip") -> None:
        self.venv, self.temp, self.installer = venv, temp, installer
        self.pid = 0
        temp.mkdir(exist_ok=True)

    def environment(self, **more: str) -> dict[str, str]:
        """Return what its processes start with."""
        path = os.environ["PATH"]
        if self.installer == "uv":
            path = os.pathsep.join([path, str(Path(find_uv() or "").parent)])
        ways = {"PATH": path, "TMPDIR": str(self.temp), "COLAB_MAGICS_INSTALLER": self.installer}
        return {**os.environ, **ways, **more}

    def run(self, code: str, **more: str) -> Ran:
        """Run code in which ``install(SPEC, ...)`` installs."""
        child = self.start(code, **more)
        out, err = child.communicate(timeout=300)
        assert child.returncode == 0, out + err
        return Ran(json.loads(out.strip().splitlines()[-1]), out + err)

    def start(self, code: str, **more: str) -> subprocess.Popen[str]:
        """Start such code."""
        command = [str(self.venv.python), "-c", _PRELUDE + code + _END]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=self.environment(**more))

    def direct_url(self, name: str) -> dict[str, Any]:
        """Return what is recorded of where a distribution came from."""
        [path] = self.venv.site_packages.glob(f"{name}-*.dist-info/direct_url.json")
        return json.loads(path.read_text())  # type: ignore[no-any-return]

    def versions(self) -> dict[str, str]:
        """Return the name and version of every distribution that was installed into it."""
        names = (path.name.removesuffix(".dist-info") for path in self.venv.site_packages.glob("*.dist-info"))
        return {name.partition("-")[0]: name.partition("-")[2] for name in names}


def find_uv() -> str | None:
    """Return the uv of the tests' own environment, or one on the path."""
    return shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


_UV = pytest.param("uv", marks=pytest.mark.skipif(find_uv() is None, reason="uv is not installed"))
INSTALLERS = ["pip"] if ONE_VARIANT else ["pip", _UV]


def wheelhouse(folder: Path, *projects: tuple[str, str]) -> Path:
    """Make a folder of wheels, which --find-links takes for an index."""
    folder.mkdir(exist_ok=True)
    for name, version in projects:
        source = folder / f"{name}-{version}-source"
        for path, text in package(name, version=version).items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_text(text)
        code = f"import _build; _build.build_wheel({str(folder)!r})"
        subprocess.run([sys.executable, "-c", code], cwd=source, check=True)
    return folder


def repacked(name: str, folder: Path) -> Path:
    """Make a folder that holds the wheel of a distribution of the tests' own environment."""
    dist = metadata.distribution(name)
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{dist.version}-py3-none-any.whl", "w") as wheel:
        for file in dist.files or []:
            if file.parts[0] != ".." and "__pycache__" not in file.parts:
                wheel.write(str(file.locate()), str(file))
    return folder


INSTALLED = """
import json
from importlib import metadata
found = {}
for dist in metadata.distributions(path=[%r]):
    data = json.loads(dist.read_text("direct_url.json") or "{}")
    found[dist.metadata["Name"]] = [dist.version, data.get("url"), data.get("vcs_info", {}).get("commit_id")]
print(json.dumps(found))
"""


def canonical(url: str | None) -> str:
    return re.sub(r"^\w+://(git@)?|\.git$", "", url or "")


def installed(venv: Venv) -> dict[str, list[str | None]]:
    found = json.loads(venv.run(INSTALLED % str(venv.site_packages)).stdout)
    return {name: [version, canonical(url), commit] for name, (version, url, commit) in found.items()}
