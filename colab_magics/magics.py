"""The IPython face: parse what was typed, call the core, show the result."""

from __future__ import annotations

import contextlib
import dis
import functools
import os
import re
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.magic import Magics, cell_magic, magics_class, needs_local_scope, no_var_expand
from IPython.utils.text import DollarFormatter
from traitlets import Bool, Enum, Int, Unicode, observe

from colab_magics import completion, core, masking
from colab_magics.core import Settings
from colab_magics.display import Lines, ask_hidden, described, interrupts_in_one_line, run_everywhere, run_plan
from colab_magics.errors import ColabMagicsError, PlanError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from types import FrameType

    from IPython.core.interactiveshell import InteractiveShell

    from colab_magics.core import Arguments, HostsReport, Report

__all__ = ["ColabMagics", "load", "unload"]

_loaded: ColabMagics | None = None
_RUNS_MAGICS = {"run_line_magic", "run_cell_magic"}  # the methods of a shell that call a magic


@functools.cache
def _parser(magic: str) -> Arguments:
    """Return the parser of a magic; ``%bootstrap`` is the one that takes a saved block."""
    if magic.endswith("bootstrap"):
        return core.block_parser("%bootstrap" if magic[0] == "%" else "%%bootstrap", file=magic[0] == "%")
    return core.verbs.get(magic).parser(f"%{magic}")


def _documented(method: Any) -> Any:
    """Let ``magic?`` show the help of a verb, which is written when it is asked for: loading must not wait for it."""
    verb = method.__name__
    method = interrupts_in_one_line()(method)
    method.getdoc = lambda: _parser(verb).format_help()  # what IPython and Colab ask before __doc__
    return method


@magics_class
class ColabMagics(Magics):
    """The magics and their configuration; None means that a trait is not set, and the environment decides."""

    token_file = Unicode(None, allow_none=True, help="The JSON file that tokens and secrets are read from.").tag(
        config=True
    )
    drive_root = Unicode(None, allow_none=True, help="The folder that drive: paths are under.").tag(config=True)
    jobs = Int(None, allow_none=True, help="How many things may run side by side.").tag(config=True)
    quiet = Bool(None, allow_none=True, help="Print nothing but errors.").tag(config=True)
    mask = Bool(None, allow_none=True, help="Mask secrets in everything that the kernel sends.").tag(config=True)
    installer = Enum(core.INSTALLERS, None, allow_none=True, help="What installs packages.").tag(config=True)
    env = Unicode(None, allow_none=True, help="Overrides the detected environment.").tag(config=True)
    dropbox_url = Unicode(None, allow_none=True, help="What Dropbox links are fetched from.").tag(config=True)

    @cell_magic
    @no_var_expand
    @_documented
    def bootstrap(self, line: str, cell: str) -> Any:  # noqa: D102 - as above
        args = self._read("bootstrap", line, {})
        if args is None:
            return None
        if not cell.strip():
            raise UsageError("the block has no steps; %%bootstrap? shows what they look like")
        return self._block(args, cell)

    def saved(self, line: str) -> Any:
        """Run a block that is saved somewhere."""
        args = self._read("%bootstrap", line, {})
        if args is None:
            return None
        settings = self.settings()
        frozen = args.frozen and core.expand(args.frozen, settings)
        try:
            text = core.saved_block(
                args.file, sha256=args.sha256, frozen=frozen, settings=settings, progress=self._lines(args)
            )
        except PlanError as error:
            raise _usage("%bootstrap", error) from None
        return self._block(args, text)

    def _block(self, args: argparse.Namespace, text: str) -> Any:
        settings, lines = self.settings(), self._lines(args)
        if args.over:
            if args.over not in self._running.user_ns:
                raise UsageError(
                    f"--over {args.over}: this notebook has no such name; give that of a dask or ipyparallel client"
                )
            client, names = self._running.user_ns[args.over], self._running.user_ns
            report = self._hosts_report(lines)
            return self._shown(run_everywhere(client, text, names, args, settings, lines, report), lines)
        plan = core.read_plan(text, {**os.environ, **self._running.user_ns}, settings=settings)
        return self._shown(run_plan(plan, args, settings, lines, self._report(lines)), lines)

    def magic(self, verb: str) -> Any:
        """Return the magic of a verb."""

        # The values are put in here, where it is known what was quoted, and not by IPython before.
        @no_var_expand
        @needs_local_scope
        def magic(line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
            return self._perform(verb, line, local_ns or {})

        magic.__name__ = verb
        return _documented(magic)

    def settings(self) -> Settings:
        """Return the configuration of a call: the traits that are set, then the environment, then the defaults."""
        given = {name: getattr(self, name) for name in Settings.__dataclass_fields__ if name != "ask"}
        return Settings.load(ask=self._asker(), **given)

    def drive(self) -> Path | None:
        """Return the root of the drive, where there is one."""
        return core.find_drive(self.settings())

    def secret_names(self) -> list[str]:
        """List the secrets that a name can be completed to; a token file that cannot be read is told elsewhere."""
        with contextlib.suppress(ColabMagicsError):
            return core.secret_names(self.settings())
        return []

    def _report(self, lines: Lines) -> Report:
        from colab_magics.report import LinesReport, TableReport  # here: loading the extension must not wait for it

        if not lines.shows_output:
            return core.Report()
        return TableReport(lines, self._display()) if hasattr(self.shell, "kernel") else LinesReport(lines)

    def _hosts_report(self, lines: Lines) -> HostsReport:
        from colab_magics.report import HostsLines, HostsTable  # here: as above

        if not lines.shows_output:
            return core.HostsReport()
        return HostsTable(lines, self._display()) if hasattr(self.shell, "kernel") else HostsLines(lines)

    def _display(self) -> Callable[[dict[str, str], bool], None]:
        """Return what shows a bundle in a place of its own, and then others in that place."""
        name = uuid.uuid4().hex

        def show(bundle: dict[str, str], update: bool) -> None:
            self._running.display_pub.publish(bundle, {}, transient={"display_id": name}, update=update)

        return show

    @property
    def _running(self) -> Any:
        return self.shell

    def _perform(self, verb: str, line: str, local: Mapping[str, Any]) -> Any:
        args = self._read(verb, line, local)
        if args is None:
            return None
        settings = self.settings()
        try:
            core.verbs.get(verb).check(args, settings.dropbox_url)
        except PlanError as error:
            raise _usage(verb, error) from None
        lines = self._lines(args)
        try:
            result = core.verbs.perform(verb, args, settings, lines, dry_run=args.dry_run)
        finally:
            lines.end()
        return self._shown(result, lines)

    def _read(self, verb: str, line: str, local: Mapping[str, Any]) -> argparse.Namespace | None:
        """Parse a magic's line; show the help and return None when that is what was asked for."""
        try:
            names = {**os.environ, **self._running.user_ns, **local}
            # Python's way to show no value, which a person writes out of habit, is no part of a path.
            line = re.sub(r"(?<!\\);\s*$", "", line)
            words = core.split(line, names, functools.partial(_evaluated, names))
            if {"-h", "--help"} & set(words):
                sys.stdout.write(_parser(verb).format_help())
                return None
            return _parser(verb).read(words)
        except PlanError as error:
            raise _usage(verb, error) from None

    def _lines(self, args: argparse.Namespace) -> Lines:
        kernel = hasattr(self.shell, "kernel")
        quiet = args.quiet or self.settings().quiet
        return Lines(live=kernel or sys.stdout.isatty(), quiet=quiet, flush=not kernel)

    def _asker(self) -> Callable[[str], str] | None:
        if not hasattr(self.shell, "kernel") and not (sys.stdin and sys.stdin.isatty()):
            return None

        def ask(prompt: str) -> str:
            with contextlib.suppress(StdinNotImplementedError, EOFError):
                return ask_hidden(prompt)
            return ""

        return ask

    def _shown(self, result: Any, lines: Lines) -> Any:
        """Print a result's lines; return it, unless the cell would show it once more as the value of its last line."""
        for text in described(result):
            lines.say(text)
        if not _is_last_line():
            return result
        hook = self._running.displayhook
        hook.update_user_ns(result)  # it is `_`, as every value of a cell
        hook.fill_exec_result(result)
        return None

    @observe("mask")
    def _mask_changed(self, _change: object) -> None:
        if self.shell is not None:
            (masking.arm if self.settings().mask else masking.disarm)(self.shell)


def loaded_settings() -> Settings:
    """Return the configuration of the loaded extension, or of the environment when none is loaded."""
    return _loaded.settings() if _loaded is not None else Settings.load()


def _evaluated(names: Mapping[str, Any], text: str) -> str | None:
    """Return what IPython makes of ``{expression}``; None when that is no expression, and stays as it is."""
    try:
        return str(DollarFormatter().vformat(text, [], names))
    except NameError as error:
        if re.fullmatch(r"\{[A-Za-z_]\w*([.\[(!:].*)?\}", text):
            meant = core.suggestion(error.name or "", names)
            raise PlanError(f"{text}: {error}{meant} (for literal braces write '{text}' in single quotes)") from None
        return None
    except Exception:  # noqa: BLE001 - whatever an expression can raise
        return None


def _usage(verb: str, error: Exception) -> UsageError:
    """Return what is wrong with a call: UsageError itself, since IPython shows a subclass with its whole stack."""
    return UsageError(f"{error} (see {_parser(verb).prog}?)")


def _help_alone(lines: list[str]) -> list[str]:
    """Let ``%%bootstrap -h`` without a block show its help: IPython calls no cell magic whose cell is empty."""
    if lines and re.match(r"%%bootstrap\b.*\s(-h|--help)\b", lines[0]) and not "".join(lines[1:]).strip():
        return [lines[0].rstrip("\n") + "\n", " \n"]
    return lines


def _is_last_line() -> bool:
    """Tell whether IPython will show what the running magic returns: the cell's next instruction says so."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - as IPython's own magics look at who calls
    while frame is not None:
        while frame.f_back is not None and frame.f_code.co_name not in _RUNS_MAGICS:
            frame = frame.f_back
        while frame.f_back is not None and frame.f_code.co_name in _RUNS_MAGICS:
            frame = frame.f_back
        caller, last = frame.f_back, frame.f_lasti
        shows = next((found for found in dis.get_instructions(frame.f_code) if found.offset > last), None)
        if shows is None or shows.opname != "RETURN_VALUE" or not _is_of_ipython(caller):
            # Python before 3.12 has an instruction of its own for it.
            return shows is not None and (shows.opname == "PRINT_EXPR" or shows.argrepr == "INTRINSIC_PRINT")
        frame = caller  # an expression that another magic evaluates, and returns as ours does: %time
    return False


def _is_of_ipython(frame: FrameType | None) -> bool:
    return frame is not None and str(frame.f_globals.get("__name__")).startswith("IPython.")


def _tell_news(*_: object) -> None:
    """Say, once and before the next cell, what went wrong with what is kept."""
    if "colab_magics.core.keeping.keep" in sys.modules:  # else nothing is
        for line in core.news():
            sys.stdout.write(masking.redact(f"{line}\n"))


def load(shell: InteractiveShell) -> None:
    """Register the magics and arm the mask."""
    global _loaded
    _loaded = magics = ColabMagics(shell=shell)
    shell.register_magics(magics)
    for verb in core.verbs.every():
        if verb.command:
            shell.magics_manager.register_function(magics.magic(verb.name), "line", verb.name)
    saved = no_var_expand(lambda line: magics.saved(line))
    saved.__name__ = "%bootstrap"
    shell.magics_manager.register_function(_documented(saved), "line", "bootstrap")
    shell.input_transformers_cleanup.append(_help_alone)
    completion.install(shell, magics.drive, magics.secret_names)
    shell.events.register("pre_run_cell", _tell_news)
    if magics.settings().mask:
        masking.arm(shell)


def unload(shell: InteractiveShell) -> None:
    """Take back what `load` did."""
    global _loaded
    _loaded = None
    masking.disarm(shell)
    completion.remove(shell)
    with contextlib.suppress(ValueError):  # it was not registered
        shell.events.unregister("pre_run_cell", _tell_news)
    for magics in [known for known in shell.configurables if isinstance(known, ColabMagics)]:
        shell.configurables.remove(magics)
        for kind, names in dict(magics.magics).items():  # type: ignore[attr-defined]  # set by @magics_class
            for name in names:
                shell.magics_manager.magics[kind].pop(name, None)
    shell.input_transformers_cleanup[:] = [
        each for each in shell.input_transformers_cleanup if getattr(each, "__name__", "") != _help_alone.__name__
    ]
    for name in (*core.verbs.names(), "bootstrap"):
        if getattr(shell.magics_manager.magics["line"].get(name), "getdoc", None):
            del shell.magics_manager.magics["line"][name]
    shell.magics_manager.registry.pop(ColabMagics.__name__, None)
