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
    >>> sorted(package("acme-tools"))
    ['_build.py', 'acme_tools/__init__.py', 'pyproject.toml']
    """
    module = re.sub(r"[-.]+", "_", name)
    if not module.isidentifier():
        raise ValueError(f"{name!r} is no name for a Python package")
    project = [
        "[build-system]",
        "requires = []",
        'build-backend = "_build"',
        'backend-path = ["."]',
        "",
        "[project]",
        f"name = {json.dumps(name)}",
        f"version = {json.dumps(version)}",
        f"dependencies = {json.dumps(list(requires))}",
    ]
    if extras:
        project += ["", "[project.optional-dependencies]"]
        project += [f"{json.dumps(extra)} = {json.dumps(list(needs))}" for extra, needs in extras.items()]
    return {
        "pyproject.toml": "\n".join(project) + "\n",
        "_build.py": Path(__file__).with_name("buildbackend.py").read_text(encoding="utf-8"),
        f"{module}/__init__.py": f"__version__ = {json.dumps(version)}\n{code}",
    }
