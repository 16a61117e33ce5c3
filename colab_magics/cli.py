"""The command-line face: the same verbs as the magics.

Exit status: 0; 1 a step failed; 2 the call or the plan is wrong; 130 interrupted.
"""

from __future__ import annotations

import getpass
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from colab_magics import __version__, core, masking
from colab_magics.core.blocks.verbs import Arguments, count, parser, suggestion
from colab_magics.core.common.settings import Settings
from colab_magics.display import Lines, described, interrupts_in_one_line
from colab_magics.errors import ColabMagicsError, Interrupted, PlanError

__all__ = ["main"]

_VERBS = {"sync": "dropbox_sync", "pip": "private_pip", "mount-drive": "mount_drive", "symlink": "symlink"}
_USAGE = """\
usage: colab-magics COMMAND ...

  sync LINK [DEST]          make DEST hold what a Dropbox share link holds
  pip SPEC [SPEC ...]       install packages from private git repositories
  mount-drive [MOUNTPOINT]  print the root of the drive, mounting it on Colab
  symlink SOURCE LINK       put a symlink at LINK
  run FILE                  run a bootstrap block from a file (- for standard input)
  export FILE [-o OUT]      write a bootstrap block as a shell script that needs nothing of ours
  sandbox                   serve a stand-in for Dropbox and a git host on this machine, to try things out

colab-magics COMMAND -h shows a command's options.
"""
_OK, _FAILED, _WRONG, _INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, by default the process's.

    Returns
    -------
    int
        The exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with interrupts_in_one_line():
            return _main(words)
    except PlanError as error:
        return _complain(error, _WRONG)
    except ColabMagicsError as error:
        return _complain(error, _FAILED)
    except Interrupted as interrupt:
        sys.stderr.write(f"{interrupt}\n")
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


def _main(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help"}:
        print(_USAGE, end="")
        return _OK if words else _WRONG
    if words[0] in {"-V", "--version"}:
        print(f"colab-magics {__version__}")
        return _OK
    command, rest = words[0], words[1:]
    others: dict[str, Callable[[list[str]], int]] = {
        "run": _run,
        "export": _export,
        "sandbox": _sandbox,
        "check-leaks": _check_leaks,
    }
    if command in _VERBS:
        return _verb(command, rest)
    if command in others:
        return others[command](rest)
    raise PlanError(f"unknown command {command!r}{suggestion(command, [*_VERBS, *others])}; colab-magics -h lists them")


def _verb(command: str, words: list[str]) -> int:
    from colab_magics.core.blocks.perform import perform

    made = parser(_VERBS[command], f"colab-magics {command}")
    if _helped(made, words):
        return _OK
    args = made.read(words)
    settings = _settings()
    lines = _lines(quiet=args.quiet or settings.quiet)
    result = perform(_VERBS[command], args, settings, lines, dry_run=args.dry_run)
    lines.end()
    for text in described(result):
        lines.say(text)
    return _OK


def _run(words: list[str]) -> int:
    made = Arguments(prog="colab-magics run", description="Run a bootstrap block from a file.", add_help=False)
    made.add_argument("file", metavar="FILE", help="the block; - for standard input")
    made.add_argument("--jobs", metavar="N", type=count, help="how many steps may run side by side")
    made.add_argument("--lock", metavar="FILE", help="write what was used to FILE: contents, commits, versions")
    made.add_argument("--frozen", metavar="FILE", help="use exactly what such a FILE says, or fail")
    made.add_argument("-n", "--dry-run", action="store_true", help="say which steps would run")
    made.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    made.add_argument("-h", "--help", action="store_true", help="show this help")
    if _helped(made, words):
        return _OK
    args = made.read(words)
    settings = _settings()
    lines = _lines(quiet=args.quiet or settings.quiet)
    plan = core.read_plan(_text(args.file), os.environ, dropbox_url=settings.dropbox_url)
    from colab_magics.report import LinesReport  # here: the other commands do without it

    if args.jobs is not None:
        settings = replace(settings, jobs=args.jobs)
    result = core.bootstrap(
        plan,
        dry_run=args.dry_run,
        lock=args.lock and Path(args.lock),
        frozen=args.frozen and Path(args.frozen),
        settings=settings,
        report=LinesReport(lines),
    )
    lines.say(repr(result))
    return _OK


def _export(words: list[str]) -> int:
    made = Arguments(
        prog="colab-magics export", description="Write a bootstrap block as a POSIX script.", add_help=False
    )
    made.add_argument("file", metavar="FILE", help="the block; - for standard input")
    made.add_argument("-o", "--output", metavar="OUT", help="the script; default: standard output")
    made.add_argument("-h", "--help", action="store_true", help="show this help")
    if _helped(made, words):
        return _OK
    from colab_magics.core.blocks.export import script

    args = made.read(words)
    text = script.export(_text(args.file), source="the block" if args.file == "-" else Path(args.file).name)
    if args.output:
        script.write(Path(args.output), text)
    else:
        # Not masked: a link of the block is part of the script, and this is where it was asked to go.
        print(text, end="")
    return _OK


def _text(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PlanError(f"the block {name!r} cannot be read: {reason}") from None


def _sandbox(words: list[str]) -> int:
    made = Arguments(
        prog="colab-magics sandbox",
        description="Serve a stand-in for Dropbox and a git host on this machine.",
        add_help=False,
    )
    made.add_argument("-h", "--help", action="store_true", help="show this help")
    if _helped(made, words):
        return _OK
    made.read(words)
    from colab_magics import sandbox

    box, lines = sandbox.serve()
    with box:
        print("\n".join(lines), flush=True)
        print("# serving until you press Ctrl-C", flush=True)
        threading.Event().wait()
    return _OK


def _check_leaks(words: list[str]) -> int:
    """Prove on this machine that an installation shows its token to nobody; not in the help, for the doubtful."""
    made = Arguments(prog="colab-magics check-leaks", description="Look for a token that leaks.", add_help=False)
    made.add_argument("--installer", choices=("pip", "uv"), default="pip", help="what installs")
    made.add_argument("-h", "--help", action="store_true", help="show this help")
    if _helped(made, words):
        return _OK
    from colab_magics.sandbox.leaks import check_leaks

    found = False
    for outcome, places in check_leaks(made.read(words).installer):
        print(f"{outcome}: {'; '.join(places) if places else 'no token anywhere'}", flush=True)
        found = found or bool(places)
    return _FAILED if found else _OK


def _helped(made: Arguments, words: list[str]) -> bool:
    if not {"-h", "--help"} & set(words):
        return False
    print(made.format_help(), end="")
    return True


def _settings() -> Settings:
    return Settings.load(ask=getpass.getpass if sys.stdin and sys.stdin.isatty() else None)


def _lines(*, quiet: bool) -> Lines:
    return Lines(live=sys.stdout.isatty(), quiet=quiet)


def _complain(error: ColabMagicsError, status: int) -> int:
    sys.stderr.write(masking.redact(f"colab-magics: {error}\n"))
    return status
