"""Metadata of distributions, written where Python looks for what is installed."""

from __future__ import annotations

import json
from pathlib import Path


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
