"""Small Python projects that install without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["package"]


def package(
    name: str,
    *,
    version: str = "1.0.0",
    code: str = "",
    requires: Iterable[str] = (),
    extras: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, str]:
    """Write a minimal project that pip and uv build with no build requirements at all.

    Parameters
    ----------
    name : str
        The distribution's name. The importable package has the same name with ``_`` for ``-`` and ``.``.
    version : str
        The distribution's version, which is also the package's ``__version__``.
    code : str
        Python source that follows ``__version__`` in the package's ``__init__.py``.
    requires : iterable of str
        Requirements (PEP 508).
    extras : mapping of str to iterable of str, optional
        Requirements of each extra.

    Returns
    -------
    dict of str to str
        POSIX path relative to the project's folder -> text: ``pyproject.toml``, ``_build.py`` (its build
        backend) and ``<package>/__init__.py``.

    Examples
    --------
    >>> from colab_magics import sandbox
    >>> sorted(sandbox.package("acme-tools"))
    ['_build.py', 'acme_tools/__init__.py', 'pyproject.toml']
    """
    module = re.sub(r"[-.]+", "_", name)
    if not module.isidentifier():
        raise ValueError(f"{name!r} is no name for a Python package")
    dependencies = list(requires)
    optional = {extra: list(needs) for extra, needs in (extras or {}).items()}
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in dependencies]
    for extra, needs in optional.items():
        metadata += [f"Provides-Extra: {extra}", *(f"Requires-Dist: {_of_extra(need, extra)}" for need in needs)]
    stem = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}"
    known = f"STEM, METADATA = {stem!r}, {chr(10).join([*metadata, ''])!r}\n"
    # TOML's plain strings and lists are JSON's.
    project = '[build-system]\nrequires = []\nbuild-backend = "_build"\nbackend-path = ["."]\n\n[project]\n'
    for key, value in (("name", name), ("version", version), ("dependencies", dependencies)):
        project += f"{key} = {json.dumps(value)}\n"
    if optional:
        project += "\n[project.optional-dependencies]\n"
        project += "".join(f"{json.dumps(extra)} = {json.dumps(needs)}\n" for extra, needs in optional.items())
    return {
        "pyproject.toml": project,
        "_build.py": Path(__file__).with_name("buildbackend.py").read_text(encoding="utf-8") + known,
        f"{module}/__init__.py": f"__version__ = {json.dumps(version)}\n{code}",
    }


def _of_extra(requirement: str, extra: str) -> str:
    # In an address, a semicolon is part of it unless a space stands before it (PEP 508).
    base, _, marker = requirement.partition(" ;" if "@" in requirement else ";")
    condition = f"({marker.strip()}) and " if marker else ""
    return f'{base.strip()} ; {condition}extra == "{extra}"'
