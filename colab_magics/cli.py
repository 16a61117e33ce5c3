"""The command-line face: the same verbs as the magics.

Exit status: 0; 1 a step failed; 2 the call or the plan is wrong; 130 interrupted, or 128 and another signal's number.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from colab_magics import __version__, core, masking
from colab_magics.display import Lines, ask_hidden, described, interrupts_in_one_line, run_everywhere, run_plan
from colab_magics.errors import ColabMagicsError, Interrupted, PlanError, StepError

if TYPE_CHECKING:
    from colab_magics.core import Arguments, Verb

__all__ = ["main"]

_OK, _FAILED, _WRONG, _SIGNALLED = 0, 1, 2, 128  # the last plus a signal's number, as shells count


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
    status = _WRONG  # until the call is understood
    try:
        with _signals_as_interrupts() as heard, interrupts_in_one_line():
            work = _understood(words)
            status = _FAILED
            return work() or _OK
    except ColabMagicsError as error:
        sys.stderr.write(masking.redact(f"colab-magics: {error}\n"))
        return _WRONG if isinstance(error, PlanError) else status
    except Interrupted as interrupt:
        sys.stderr.write(f"{interrupt}\n")
        return _SIGNALLED + heard[-1]
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


@contextmanager
def _signals_as_interrupts() -> Iterator[list[int]]:
    """Let what ends this process end its commands too, which have sessions of their own; yield what was heard.

    A signal that is ignored, as SIGHUP under ``nohup``, stays so.
    """
    heard: list[int] = [signal.SIGINT]

    def interrupt(number: int, _frame: object) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for each, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(each, interrupt)
    try:
        yield heard
    finally:
        for each, handler in before.items():
            if handler is signal.SIG_DFL:
                signal.signal(each, handler)


def _understood(words: list[str]) -> Callable[[], int | None]:
    """Return the work that a call asks for; whatever is raised here, the call is wrong."""
    if not words:
        print(_usage(), end="")
        return lambda: _WRONG
    if words[0] in {"-h", "--help"}:
        return lambda: print(_usage(), end="")
    if words[0] in {"-V", "--version"}:
        return lambda: print(f"colab-magics {__version__}")
    command, rest = words[0], words[1:]
    verbs = {verb.command: verb for verb in core.verbs.every() if verb.command}
    by_name = {verb.name: verb for verb in verbs.values()}
    verb = verbs.get(command) or by_name.get(command)
    if verb is not None:
        return _verb(verb, command, rest)
    if command in _OTHERS or command == "bootstrap":  # as the magic is called
        return _OTHERS["run" if command == "bootstrap" else command](rest)
    near = core.suggestion(command, [*verbs, *by_name, *_OTHERS])
    raise PlanError(f"unknown command {command!r}{near}; colab-magics -h lists them")


def _usage() -> str:
    listed = [(f"{verb.command} {verb.synopsis}", verb.summary) for verb in core.verbs.every() if verb.command]
    listed += [
        ("run FILE|URL", "run a saved bootstrap block (- for standard input)"),
        ("export FILE [-o OUT]", "write a bootstrap block as a shell script that needs nothing of ours"),
        ("login dropbox", "log in to your Dropbox; logout dropbox forgets it"),
        ("sandbox", "serve a stand-in for Dropbox and a git host on this machine, to try things out"),
        ("check-leaks", "prove here that an installation shows its token to nobody"),
    ]
    lines = [f"  {command:<25} {summary}" for command, summary in listed]
    tail = "colab-magics COMMAND -h shows a command's options."
    return "\n".join(["usage: colab-magics COMMAND ...", "", *lines, "", tail, ""])


def _read(parser: Arguments, words: list[str]) -> argparse.Namespace | None:
    """Parse the words of a command; show its help and return None when that is what was asked for."""
    if {"-h", "--help"} & set(words):
        print(parser.format_help(), end="")
        return None
    return parser.read(words)


def _verb(verb: Verb, command: str, words: list[str]) -> Callable[[], int | None]:
    args = _read(_with_json(verb.parser(f"colab-magics {command}")), words)
    if args is None:
        return _nothing
    settings = _settings()
    verb.check(args, settings.dropbox_url)
    lines = _lines(args, settings)
    return lambda: _show(
        lambda: core.verbs.perform(verb.name, args, settings, lines, dry_run=args.dry_run, lasts=False), args, lines
    )


def _run(words: list[str]) -> Callable[[], int | None]:
    args = _read(_with_json(core.block_parser("colab-magics run", file=True)), words)
    if args is None:
        return _nothing
    settings = _settings()
    lines = _lines(args, settings)
    frozen = args.frozen and core.expand(args.frozen, settings)
    text = (
        sys.stdin.read()
        if args.file == "-"
        else core.saved_block(args.file, sha256=args.sha256, frozen=frozen, settings=settings, progress=lines)
    )
    plan = core.read_plan(text, os.environ, settings=settings)

    def work() -> core.BootstrapResult | core.EverywhereResult:
        from colab_magics.report import HostsLines, LinesReport  # here: the other commands do without it

        if args.over:
            return run_everywhere(args.over, text, {}, args, settings, lines, HostsLines(lines))
        return run_plan(plan, args, settings, lines, LinesReport(lines))

    return lambda: _show(work, args, lines)


def _show(work: Callable[[], object], args: argparse.Namespace, lines: Lines) -> None:
    """Do it, and show what came of it; as JSON also what came of a block of which a step failed."""
    try:
        result = work()
    except (StepError, Interrupted) as error:
        if args.json and error.result is not None:
            print(masking.redact(core.as_json(error.result)))
        raise
    finally:
        lines.end()
    if args.json:
        print(masking.redact(core.as_json(result)))
    else:
        for text in described(result):
            lines.say(text)


def _with_json(parser: Arguments) -> Arguments:
    parser.add_argument("--json", action="store_true", help="print the result as JSON, all else to standard error")
    return parser


def _export(words: list[str]) -> Callable[[], int | None]:
    made = _parser("export", "Write a bootstrap block as a POSIX script.")
    made.add_argument("file", metavar="FILE", help="the block; - for standard input")
    made.add_argument("-o", "--output", metavar="OUT", help="the script; default: standard output")
    args = _read(made, words)
    if args is None:
        return _nothing
    block = sys.stdin.read() if args.file == "-" else core.saved_block(args.file)
    text = core.export(block, source="the block" if args.file == "-" else Path(args.file).name)
    if args.output:
        return lambda: print(core.write(Path(args.output), text))
    # Not masked: a link of the block is part of the script, and this is where it was asked to go.
    return lambda: print(text, end="")


def _login(command: str) -> Callable[[list[str]], Callable[[], int | None]]:
    def understood(words: list[str]) -> Callable[[], int | None]:
        summary = (
            "Log in to your Dropbox, in four steps." if command == "login" else "Forget the login to your Dropbox."
        )
        made = _parser(command, summary)
        made.add_argument("service", metavar="dropbox", choices=("dropbox",), help="where to")
        args = _read(made, words)
        if args is None:
            return _nothing
        work = core.login if command == "login" else core.logout
        settings, lines = _settings(), Lines(live=sys.stdout.isatty())

        def call() -> None:
            work(args.service, settings=settings, progress=lines)

        return call

    return understood


def _sandbox(words: list[str]) -> Callable[[], int | None]:
    if _read(_parser("sandbox", "Serve a stand-in for Dropbox and a git host on this machine."), words) is None:
        return _nothing
    from colab_magics import sandbox

    def work() -> None:
        box, lines = sandbox.serve()
        with box:
            print("\n".join(lines), flush=True)
            print("# serving until you press Ctrl-C", flush=True)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
        print("\n# stopped; what was in the sandbox is gone")

    return work


def _check_leaks(words: list[str]) -> Callable[[], int | None]:
    made = _parser("check-leaks", "Prove on this machine that an installation shows its token to nobody.")
    made.add_argument("--installer", choices=("pip", "uv"), default="pip", help="what installs")
    args = _read(made, words)
    if args is None:
        return _nothing
    from colab_magics.sandbox.leaks import check_leaks

    def work() -> int:
        found = False
        for outcome, places in check_leaks(args.installer):
            print(f"{outcome}: {'; '.join(places) if places else 'no token anywhere'}", flush=True)
            found = found or bool(places)
        return _FAILED if found else _OK

    return work


_OTHERS: dict[str, Callable[[list[str]], Callable[[], int | None]]] = {
    "run": _run,
    "export": _export,
    "login": _login("login"),
    "logout": _login("logout"),
    "sandbox": _sandbox,
    "check-leaks": _check_leaks,
}


def _nothing() -> None:
    """Do nothing: the help was shown."""


def _parser(command: str, description: str) -> Arguments:
    made = core.Arguments.described(f"colab-magics {command}", description)
    made.add_argument("-h", "--help", action="store_true", help="show this help")
    return made


def _settings() -> core.Settings:
    return core.Settings.load(ask=ask_hidden if sys.stdin and sys.stdin.isatty() else None)


def _lines(args: argparse.Namespace, settings: core.Settings) -> Lines:
    stream = sys.stderr if args.json else sys.stdout
    return Lines(live=stream.isatty(), quiet=args.quiet or settings.quiet, stream=stream)
