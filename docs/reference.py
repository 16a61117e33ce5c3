"""Writes a page for each magic and step from its own help, so that what the pages say is what the code takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from colab_magics import core

__all__ = ["write"]

_BEGINNING = """\
# Magics and steps

What `-h` shows. A step of a block takes the same arguments as its magic, and `--on ENV[,ENV]`.
"""
_CONTENTS = "```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
_NOTE = "The same help: `{asked}`{command}."


def write(folder: Path) -> None:
    """Write the pages, and an overview named ``index``, into a folder that holds nothing else.

    Parameters
    ----------
    folder : Path
        Made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["COLUMNS"] = "100"  # what argparse wraps its lines at
    rows, names = ["| | |", "|---|---|"], []
    block = core.block_parser("%%bootstrap").format_help()
    _page(folder, "bootstrap", "%%bootstrap", block, _NOTE.format(asked="%%bootstrap?", command=""))
    rows.append("| [`%%bootstrap`](bootstrap.md) | a block of steps as one plan |")
    names.append("bootstrap")
    for verb in core.verbs.every():
        title = f"%{verb.name}" if verb.command else verb.name
        if verb.command:
            note = _NOTE.format(asked=f"{title}?", command=f" and `colab-magics {verb.command} -h`")
        else:
            note = "A step of blocks alone."
        _page(folder, verb.name, title, verb.parser(title, step=not verb.command).format_help(), note)
        synopsis = verb.synopsis.replace("|", "\\|")
        rows.append(f"| [`{title} {synopsis}`]({verb.name}.md) | {verb.summary} |")
        names.append(verb.name)
    line = subprocess.run([sys.executable, "-m", "colab_magics", "-h"], capture_output=True, text=True, check=True)
    _page(folder, "colab-magics", "colab-magics", line.stdout, "In a shell. Exit status: see [](../guide/blocks.md).")
    rows.append("| [`colab-magics COMMAND`](colab-magics.md) | the same in a shell |")
    text = "\n".join([_BEGINNING, *rows, "", _CONTENTS.format(pages="\n".join([*names, "colab-magics"]))])
    (folder / "index.md").write_text(text, "utf-8")


def _page(folder: Path, name: str, title: str, text: str, note: str) -> None:
    page = f"# `{title}`\n\n```text\n{text.rstrip()}\n```\n\n{note}\n"
    (folder / f"{name}.md").write_text(page, "utf-8")
