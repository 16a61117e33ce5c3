"""The arguments of every verb, said once for the magics, the command line and the block.

A parser made here never prints and never exits: what is wrong is a PlanError, what is right a namespace.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from colab_magics.core.common.environment import ENVIRONMENTS
from colab_magics.core.common.settings import INSTALLERS
from colab_magics.errors import PlanError

__all__ = ["VERBS", "Arguments", "count", "parser", "suggestion"]

#: What a line of a block can begin with.
VERBS = ("mount_drive", "dropbox_sync", "symlink", "pip", "private_pip", "run")


class Arguments(argparse.ArgumentParser):
    """An argument parser that raises PlanError."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise PlanError(message)

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse `words`.

        Raises
        ------
        PlanError
            When an argument is missing, wrong, or unknown; suggests what may be meant.
        """
        # Intermixed: an optional argument such as DEST may stand behind an option too.
        values, unknown = self.parse_known_intermixed_args(list(words))
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            kind = "option" if unknown[0].startswith("-") else "argument"
            raise PlanError(f"unknown {kind} {unknown[0]!r}{suggestion(unknown[0], options)}")
        return values


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` when something known is near, else nothing."""
    near = difflib.get_close_matches(word.partition("=")[0], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def parser(verb: str, prog: str | None = None, *, step: bool = False) -> Arguments:
    """Return the parser for a verb's arguments.

    Parameters
    ----------
    verb : str
        One of `VERBS`, or ``'bootstrap'``.
    prog : str, optional
        What the help calls it.
    step : bool, optional
        For a line of a block: ``--on`` is known, ``--quiet`` and ``--help`` are not.

    Returns
    -------
    Arguments
    """
    fill, description, example = _TABLE[verb]
    made = Arguments(
        prog=prog or verb,
        description=description,
        epilog=f"example:\n{example.replace('VERB', prog or verb)}",
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fill(made)
    if step:
        made.add_argument("--on", metavar="ENV[,ENV]", type=_environments, default=(), help="only there")
    elif verb not in {"run", "pip"}:
        made.add_argument("-n", "--dry-run", action="store_true", help="say what would happen, change nothing")
        made.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
        made.add_argument("-h", "--help", action="store_true", help="show this help")
    return made


def _environments(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in ENVIRONMENTS:
            raise argparse.ArgumentTypeError(f"unknown environment {name!r}{suggestion(name, ENVIRONMENTS)}")
    return names


def count(text: str) -> int:
    """Return a number of jobs."""
    if not re.fullmatch(r"0*[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _dropbox_sync(made: Arguments) -> None:
    add = made.add_argument
    add("link", metavar="LINK", help="a Dropbox share link (folder or file), any http(s) address, or secret:NAME")
    add("dest", metavar="DEST", nargs="?", help="where it goes; default: the name that the server gives")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="a dataset: once complete, do nothing; never replace a file")
    how.add_argument("--mirror", action="store_true", help="also remove what a sync wrote and the link no longer holds")
    add("--force", action="store_true", help="forget what is known and fetch again")
    add("--include", metavar="GLOB", action="append", default=[], help="only members that match (repeatable)")
    add("--exclude", metavar="GLOB", action="append", default=[], help="no members that match (repeatable)")
    add("--unpack", action="store_true", help="LINK is an archive (zip, tar, tar.gz, ...): unpack it into DEST")
    add("--sha256", metavar="HEX", help="a file link's content must have this digest")
    add("--password", metavar="secret:NAME", help="for a password-protected link")


def _private_pip(made: Arguments) -> None:
    add = made.add_argument
    add(
        "specs",
        metavar="SPEC",
        nargs="*",
        help="org/repo[extra]@REF#subdirectory=DIR, repo, HOST/org/repo, https://..., ./folder",
    )
    add("-r", "--requirement", metavar="FILE", action="append", default=[], help="a requirements file (repeatable)")
    add("-c", "--constraint", metavar="FILE", action="append", default=[], help="a constraints file (repeatable)")
    add("-e", "--editable", action="store_true", help="clone beside the notebook and install in place")
    add("--src", metavar="DIR", help="the folder for such clones; default: here")
    add("-U", "--upgrade", action="store_true", help="as pip's")
    add("--force", action="store_true", help="install again what is installed")
    add("--no-deps", action="store_true", help="as pip's")
    add("--token-file", metavar="PATH", help="the JSON file that tokens are read from")
    add("--token", metavar="secret:NAME", help="the name of the token; never the token itself")
    add("--index-url", metavar="URL", help="the index in place of PyPI; its token is looked up by its host")
    add("--extra-index-url", metavar="URL", action="append", default=[], help="an index beside it (repeatable)")
    add("--installer", choices=INSTALLERS, help="default auto: uv when it is there, else pip")


def _mount_drive(made: Arguments) -> None:
    made.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="default: /content/drive")


def _symlink(made: Arguments) -> None:
    made.add_argument("source", metavar="SOURCE", help="what the link points to (drive:PATH is made if it is missing)")
    made.add_argument("link", metavar="LINK", help="where the link stands; parents are made")
    made.add_argument("--force", action="store_true", help="move what stands there to a backup beside it")


def _run(made: Arguments) -> None:
    made.add_argument("--in", dest="folder", metavar="DIR", help="the folder that the command runs in")


def _pip(made: Arguments) -> None:
    made.description = "Install packages from an index; takes all that pip install takes."


def _bootstrap(made: Arguments) -> None:
    made.add_argument("--jobs", metavar="N", type=count, help="how many steps may run side by side")
    made.add_argument("--lock", metavar="FILE", help="write what was used to FILE: contents, commits, versions")
    made.add_argument("--frozen", metavar="FILE", help="use exactly what such a FILE says, or fail")
    made.add_argument(
        "--save", metavar="FILE", help="also write the block to FILE, for colab-magics run FILE elsewhere"
    )
    made.add_argument("--export", metavar="FILE", help="also write it as a shell script that needs nothing of ours")


_TABLE: dict[str, tuple[Callable[[Arguments], None], str, str]] = {
    "dropbox_sync": (
        _dropbox_sync,
        (
            "Make DEST hold what a share link holds. Only files whose content differs are written, other\n"
            "files are left alone, and a file that you changed is kept in DEST/.colab_magics/backup/ before\n"
            "it is replaced."
        ),
        "  VERB https://www.dropbox.com/scl/fo/abc/xyz?rlkey=... proj\n  VERB secret:DATASET_LINK dataset --once",
    ),
    "private_pip": (
        _private_pip,
        (
            "Install packages from private git repositories. The token is read from the token file, the\n"
            "environment or the notebook service's secrets, and is shown to git alone."
        ),
        "  VERB acme/secretlib@v1.2\n  VERB -r requirements.txt",
    ),
    "mount_drive": (
        _mount_drive,
        "Mount Google Drive on Colab, elsewhere take the configured folder; returns the path of its root.",
        "  VERB",
    ),
    "symlink": (
        _symlink,
        "Put a symlink at LINK that points to SOURCE, whatever stale link, empty folder or link's text stands there.",
        "  VERB dataset proj/data/input\n  VERB drive:exp1/working proj/data/working",
    ),
    "run": (_run, "Run a command.", "  VERB --in proj python train.py"),
    "pip": (_pip, "Install packages from an index.", "  VERB install -r requirements.txt"),
    "bootstrap": (
        _bootstrap,
        (
            "Run a block of steps, one a line:\n\n"
            "  dropbox_sync LINK [DEST]   make DEST hold what a share link holds; --once for a dataset\n"
            "  symlink SOURCE LINK        put a symlink at LINK\n"
            "  mount_drive                mount Google Drive\n"
            "  pip install ...            as pip's; not even started when everything is there\n"
            "  private_pip SPEC ...       packages from private git repositories\n"
            "  run [--in DIR] COMMAND     a command, or a line for the shell (also !COMMAND)\n\n"
            "Each takes the options of the magic of that name (%dropbox_sync? shows them) and --on ENV[,ENV],\n"
            "which runs it only there: colab, kaggle, linux, ... Words are split as a shell splits them: quotes,\n"
            "\\ before a space or at a line's end, # for a comment. $NAME is a variable of the notebook or of the\n"
            "environment, drive:PATH lies on the drive, secret:NAME is looked up where tokens are.\n\n"
            "The whole block is checked before its first step runs. It ends as if its lines ran from top to\n"
            "bottom, but a step starts as soon as what it needs is there; run waits for all before it. When a\n"
            "step fails, what depends on it is skipped, the rest is finished, and the cell fails. Running it\n"
            "again does only what is left. The result has a line a step: x = _ keeps it."
        ),
        (
            "  VERB\n  dropbox_sync secret:DATASET_LINK dataset --once\n  dropbox_sync $PROJECT_LINK proj\n"
            "  symlink dataset proj/data/input\n  pip install -r proj/requirements.txt\n"
            "  private_pip acme/secretlib@v1.2\n  run --in proj python train.py --epochs 10"
        ),
    ),
}
