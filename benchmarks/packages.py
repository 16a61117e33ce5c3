"""How long a private installation takes, against ``pip install git+http://TOKEN@...`` on the same loopback host.

Run it as ``python benchmarks/packages.py [ROUNDS]``; it needs git, pip, uv, and an index that has setuptools, which
builds the package as it builds most. Each round has a fresh virtual environment and empty caches; what is printed are
medians of wall seconds, and their ratio to plain pip's. The call is timed as a notebook makes it: in a Python that
runs already.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from colab_magics import sandbox

_OURS = """
import json, sys, time
import colab_magics.core.packages.install as packages
from colab_magics.core import Settings
spec, settings, times = sys.argv[1], Settings.load(), []
for options in ({}, {}, {"force": True}):
    began = time.perf_counter()
    packages.install([spec], settings=settings, **options)
    times.append(time.perf_counter() - began)
print(json.dumps(times))
"""
_PROJECT = """
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
[project]
name = "secretlib"
version = "1.0"
[tool.setuptools]
packages = ["secretlib"]
"""
_PARTS = ("first install", "nothing to do", "forced reinstall")
_LIMITS = {
    ("pip", "first install"): 1.05,
    ("uv", "first install"): 0.60,
    ("pip", "nothing to do"): 0.10,
    ("uv", "nothing to do"): 0.10,
    ("pip", "forced reinstall"): 0.25,
    ("uv", "forced reinstall"): 0.25,
}


def timed(command: list[str], env: dict[str, str]) -> float:
    """Return the seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, env=env, check=True, capture_output=True)
    return time.perf_counter() - began


def environment(folder: Path) -> tuple[Path, dict[str, str]]:
    """Make a virtual environment with this one's pip, and an environment with caches of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "venv" / "lib" / version / "site-packages"
    seen = {Path(importlib.util.find_spec(name).origin).parents[1] for name in ("pip", "colab_magics")}  # type: ignore[union-attr,arg-type]
    (site / "outer.pth").write_text("\n".join(map(str, seen)))
    caches = {"PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv", "HOME": "home"}
    env = {**os.environ, **{name: str(folder / place) for name, place in caches.items()}}
    return python, {**env, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def main(rounds: int) -> None:
    """Measure and print."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    with sandbox.start() as box, tempfile.TemporaryDirectory() as scratch:
        repo = box.private_repo(
            "acme/secretlib", {"pyproject.toml": _PROJECT, "secretlib/__init__.py": "answer = 42\n"}
        )
        for number in range(rounds):
            python, env = environment(Path(scratch, f"plain-{number}"))
            address = f"git+http://x:{box.token}@{box.git_host}/acme/secretlib"
            plain = [str(python), "-m", "pip", "install", address]
            for part, more in zip(_PARTS, ([], [], ["--force-reinstall"]), strict=True):
                times["plain pip", part].append(timed([*plain, *more], env))
            for installer in ["pip", *(["uv"] if uv else [])]:
                python, env = environment(Path(scratch, f"{installer}-{number}"))
                env |= {"COLAB_MAGICS_INSTALLER": installer}
                env["PATH"] = f"{Path(uv).parent}:{env['PATH']}" if uv else env["PATH"]
                command = [str(python), "-c", _OURS, repo.spec]
                done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
                for part, seconds in zip(_PARTS, json.loads(done.stdout), strict=True):
                    times[installer, part].append(seconds)
            ask = ["git", "ls-remote", f"http://x:{box.token}@{box.git_host}/acme/secretlib", "HEAD"]
            times["limit", "one ls-remote"].append(timed(ask, dict(os.environ)))
    for part in _PARTS:
        base = statistics.median(times["plain pip", part])
        print(f"{part:17} plain pip {base:6.3f} s")
        for installer in ("pip", "uv"):
            if measured := times.get((installer, part)):
                ratio = statistics.median(measured) / base
                limit = _LIMITS[installer, part]
                verdict = "" if ratio <= limit else "  MISSED"
                print(f"{'':17} with {installer:4} {base * ratio:6.3f} s  {ratio:.2f}x (aim {limit:.2f}x){verdict}")
    print(f"the limit: one ls-remote {statistics.median(times['limit', 'one ls-remote']):.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
