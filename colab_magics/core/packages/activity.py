"""What an installer is doing, read from what pip or uv prints as it comes."""

from __future__ import annotations

import re
from collections.abc import Callable

from colab_magics.core.common.progress import Progress

__all__ = ["doing", "teller"]

# pip's and uv's own lines; both print them also where no bar is drawn.
_LINES = tuple(
    (re.compile(pattern), told)
    for pattern, told in (
        (r"Collecting (?P<what>[^\s@(;\[<>=!~]+)", "collecting {what}"),
        # pip: Downloading torch-2.9.0-cp312-linux_x86_64.whl (780.4 MB); uv: Downloading torch (780.4MiB)
        (
            r"Downloading (?P<what>[^\s-]+)\S* \((?P<size>[\d.]+) ?(?P<unit>[kMGT]?i?B)\)",
            "downloading {what} {size} {unit}",
        ),
        (r"Cloning \w+://\S*?(?P<what>[^/\s]+?)(?:\.git)? to ", "cloning {what}"),
        (r"Updating \w+://\S*?(?P<what>[^/\s]+?)(?:\.git)? \(", "cloning {what}"),
        (r"Building (?:editable|wheel) for (?P<what>\S+) .*started", "building {what}"),
        (r"Building (?P<what>\S+) @ ", "building {what}"),
        (r"Installing collected packages: (?P<what>.+)", "installing {what}"),
        (r"Prepared (?P<what>\d+ packages?)", "installing {what}"),
    )
)
_LONGEST = 60  # characters of a list of packages


def doing(line: str) -> str | None:
    """Return what an installer says in a line that it does now; None when the line is about something else."""
    for pattern, told in _LINES:
        if match := pattern.match(line.strip()):
            text = told.format(**match.groupdict())
            return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return None


def teller(progress: Progress) -> Callable[[str], None]:
    """Return what takes an installer's output piece by piece and tells `progress` what is being done."""
    rest = ""

    def take(text: str) -> None:
        nonlocal rest
        *lines, rest = (rest + text).split("\n")
        if told := next(filter(None, map(doing, reversed(lines))), None):
            progress.begin(told)

    return take
