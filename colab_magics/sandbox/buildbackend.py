"""Build this project with nothing but the standard library (PEP 517, PEP 660).

`colab_magics.sandbox.package` puts a copy of this file into each project it writes, as ``_build.py``, so that
pip and uv build it without downloading anything. In ``pyproject.toml`` it understands what that function
writes: under ``[project]`` and ``[project.optional-dependencies]``, one ``key = value`` a line, each value a
string or a list of strings.
"""

# ruff: noqa: ARG001 - PEP 517 names the parameters of the hooks, used or not.
from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import tarfile
import zipfile
from typing import Any

_WHEEL = "Wheel-Version: 1.0\nGenerator: in-tree\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _project() -> tuple[dict[str, Any], dict[str, list[str]]]:
    tables: dict[str, dict[str, Any]] = {}
    table: dict[str, Any] = {}
    with open("pyproject.toml", encoding="utf-8") as lines:
        for line in lines:
            text = line.strip()
            if text.startswith("["):
                table = tables.setdefault(text.strip("[]"), {})
            elif "=" in text and not text.startswith("#"):
                key, _, value = text.partition("=")
                # Python 3.10 has no tomllib; TOML's plain strings and lists are JSON's.
                table[key.strip().strip('"')] = json.loads(value)
    return tables["project"], tables.get("project.optional-dependencies", {})


def _stem() -> str:
    project, _ = _project()
    name = re.sub(r"[-_.]+", "_", project["name"]).lower()
    return f"{name}-{project['version']}"


def _metadata() -> str:
    project, extras = _project()
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in project.get("dependencies", [])]
    for extra, requirements in extras.items():
        lines.append(f"Provides-Extra: {extra}")
        for requirement in requirements:
            # In an address, a semicolon is part of it unless a space stands before it (PEP 508).
            base, _, marker = requirement.partition(" ;" if "@" in requirement else ";")
            condition = f'extra == "{extra}"'
            condition = f"({marker.strip()}) and {condition}" if marker else condition
            lines.append(f"Requires-Dist: {base.strip()} ; {condition}")
    return "\n".join(lines) + "\n"


def _sources() -> dict[str, bytes]:
    """Return every file of every package here: path with slashes -> content."""
    found: dict[str, bytes] = {}
    for top in sorted(os.listdir()):
        if not os.path.isfile(os.path.join(top, "__init__.py")):
            continue
        for folder, folders, names in os.walk(top):
            folders[:] = sorted(name for name in folders if name not in ("__pycache__", ".git"))
            for name in sorted(names):
                path = os.path.join(folder, name)
                # A submodule's .git is a file, and no part of the package.
                if name != ".git":
                    with open(path, "rb") as source:
                        found[path.replace(os.sep, "/")] = source.read()
    return found


def _write_wheel(folder: str, content: dict[str, bytes]) -> str:
    stem = _stem()
    info = f"{stem}.dist-info"
    content = {**content, f"{info}/METADATA": _metadata().encode(), f"{info}/WHEEL": _WHEEL.encode()}
    record = ""
    for path, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    name = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in content.items():
            # A fixed date, so that the same sources are the same wheel.
            member = zipfile.ZipInfo(path, (2000, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(member, data)
    return name


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None) -> str:
    """Write the wheel and return its name."""
    return _write_wheel(wheel_directory, _sources())


def build_editable(wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None) -> str:
    """Write a wheel that puts this folder on the import path, and return its name."""
    name = _stem().partition("-")[0]
    return _write_wheel(wheel_directory, {f"__editable__.{name}.pth": f"{os.getcwd()}\n".encode()})


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: object = None) -> str:
    """Write the wheel's metadata alone, and return its folder's name."""
    name = f"{_stem()}.dist-info"
    os.mkdir(os.path.join(metadata_directory, name))
    for file, text in (("METADATA", _metadata()), ("WHEEL", _WHEEL)):
        with open(os.path.join(metadata_directory, name, file), "w", encoding="utf-8", newline="\n") as target:
            target.write(text)
    return name


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_sdist(sdist_directory: str, config_settings: object = None) -> str:
    """Write the source archive and return its name."""
    stem = _stem()
    content = {**_sources(), "PKG-INFO": _metadata().encode()}
    for name in ("pyproject.toml", "_build.py"):
        with open(name, "rb") as source:
            content[name] = source.read()
    with tarfile.open(os.path.join(sdist_directory, f"{stem}.tar.gz"), "w:gz") as archive:
        for path, data in content.items():
            member = tarfile.TarInfo(f"{stem}/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return f"{stem}.tar.gz"
