"""Build this project with nothing but the standard library (PEP 517, PEP 660).

`colab_magics.sandbox.package` puts a copy of this file into each project that it writes, as ``_build.py``, with the
project's name and metadata at its end, so that pip and uv build it without downloading anything.
"""

# ruff: noqa: ARG001 - PEP 517 names the parameters of the hooks, used or not.
from __future__ import annotations

import base64
import hashlib
import os
import zipfile

STEM, METADATA = "name-1.0", ""
_WHEEL = "Wheel-Version: 1.0\nGenerator: in-tree\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _sources() -> dict[str, bytes]:
    """Return every file of every package here: path with slashes -> content."""
    found: dict[str, bytes] = {}
    for top in sorted(name for name in os.listdir() if os.path.isfile(os.path.join(name, "__init__.py"))):
        for folder, folders, names in os.walk(top):
            folders[:] = sorted(name for name in folders if name not in ("__pycache__", ".git"))
            # A submodule's .git is a file, and no part of the package.
            for path in (os.path.join(folder, name) for name in sorted(names) if name != ".git"):
                with open(path, "rb") as source:
                    found[path.replace(os.sep, "/")] = source.read()
    return found


def _write_wheel(folder: str, content: dict[str, bytes]) -> str:
    info = f"{STEM}.dist-info"
    content = {**content, f"{info}/METADATA": METADATA.encode(), f"{info}/WHEEL": _WHEEL.encode()}
    record = ""
    for path, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    with zipfile.ZipFile(os.path.join(folder, f"{STEM}-py3-none-any.whl"), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in content.items():
            # A fixed date, so that the same sources are the same wheel.
            member = zipfile.ZipInfo(path, (2000, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            wheel.writestr(member, data, zipfile.ZIP_DEFLATED)
    return f"{STEM}-py3-none-any.whl"


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None) -> str:
    """Write the wheel and return its name."""
    return _write_wheel(wheel_directory, _sources())


def build_editable(wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None) -> str:
    """Write a wheel that puts this folder on the import path, and return its name."""
    name = STEM.partition("-")[0]
    return _write_wheel(wheel_directory, {f"__editable__.{name}.pth": f"{os.getcwd()}\n".encode()})


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: object = None) -> str:
    """Write the wheel's metadata alone, and return its folder's name."""
    folder = os.path.join(metadata_directory, f"{STEM}.dist-info")
    os.mkdir(folder)
    for file, text in (("METADATA", METADATA), ("WHEEL", _WHEEL)):
        with open(os.path.join(folder, file), "w", encoding="utf-8", newline="\n") as target:
            target.write(text)
    return f"{STEM}.dist-info"


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel
