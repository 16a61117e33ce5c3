"""Keep a folder, ask how far that is, and bring it back: what a kernel or a shell calls."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import colab_magics
from colab_magics.core.common import cancellation, drive, hooks
from colab_magics.core.common.attributes import move
from colab_magics.core.common.disk import are_together, check_room, disk_errors
from colab_magics.core.common.files import FOLDER
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.results import KeepStatus, SyncResult, readable
from colab_magics.core.common.selection import Selection
from colab_magics.core.common.settings import Settings
from colab_magics.core.common.symlinks import free_name
from colab_magics.core.keeping.destinations import ChangedError, Copy, open_destination
from colab_magics.core.keeping.state import Config, State, alive, process
from colab_magics.errors import LayoutError, TransferError

__all__ = ["keep", "kept", "news", "restore"]

_EVERY = 300.0  # seconds
_LOOK = 0.1  # seconds between two looks at how far a keeper is
_START = 30.0  # seconds that a keeper has to start
_STARTS = 3  # how often it is started when something kills it meanwhile
_LOG = "keeper.log"  # what a keeper that fails has said
_AFTER_RUN, _AT_EXIT = 30.0, 4.0  # seconds to wait for a push; Jupyter kills a kernel 5 seconds after asking it to end
_REFUSED = 60.0  # seconds after which nobody waits any more for a keeper that ends, and has pushed, but not all
_SUPERVISE = 1.0  # seconds between two looks at whether a keeper lives
# What a keeper's environment has. The rest, a token maybe, is not for everybody who may read it.
_ENVIRONMENT = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|XDG_\w+|LD_LIBRARY_PATH|PYTHONPATH|PYTHONHOME|VIRTUAL_ENV"
)
_NETWORK = re.compile(r"(?i)\w+_proxy|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|COLAB_MAGICS_(?!SECRET_)\w+")

_mine: dict[Path, dict[str, str]] = {}  # the states of what this process has kept, each with what its keeper needs
_told: dict[Path, object] = {}  # what of them was told last


def keep(
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    every: float | None = None,
    last: Sequence[tuple[int, str]] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    lasts: bool = True,
    dry_run: bool = False,
    settings: Settings | None = None,
) -> KeepStatus:
    """From now on copy what appears in `source` to `dest`, whole and verified.

    A process of its own does that, and goes on when this one dies. It ends, after a last push, when this one has ended
    and so has every other that has asked for the same.

    Parameters
    ----------
    source : str or path-like
        A local folder; made if it is not there.
    dest : str or path-like
        ``drive:PATH``, a folder, or ``dropbox:/PATH``.
    every : float, optional
        Seconds between two pushes; by default 300.
    last : sequence of (int, str), optional
        Of the files that a glob matches, keep only so many: those made last.
    include, exclude : sequence of str, optional
        Globs, as a sync's.
    lasts : bool, optional
        Whether the end of this process is to end the keeper; if not, only `kept` with ``stop`` does.
    dry_run : bool, optional
        Change nothing.
    settings : Settings, optional
        By default read from the environment.

    Returns
    -------
    KeepStatus

    Raises
    ------
    LayoutError
        When the places do not fit together, or `source` is kept at another place already.
    """
    settings = settings or Settings.load()
    place, absolute, secrets = _places(source, dest, settings)
    state = State.of(place)
    with state.changing():
        before, known = state.config(), state.progress()
        is_running = known.is_running
        if before and is_running and before.dest != absolute:
            raise LayoutError(
                f"{os.fspath(source)!r} is kept at {before.shown} already; stop that first: keep {source} --stop"
            )
        watch = {one for one in before.watch if alive(one)} if before and not known.ended else set()
        if lasts and not (before and is_running and not before.watch):
            watch.add(process())
        config = Config(
            str(place),
            absolute,
            os.fspath(dest),
            every or _EVERY,
            [(count, glob) for count, glob in last],
            list(include),
            list(exclude),
            sorted(watch) if lasts else [],
            request=before.request if before else 0.0,
        )
        is_new = not is_running or config != before
        notes = _notes(source, place, dest, absolute) if is_new else []
        if dry_run:
            return _status(state, config, "planned" if is_new else "up-to-date", notes)
        with disk_errors(place, os.fspath(source)):
            place.mkdir(parents=True, exist_ok=True)
        if is_new:
            state.write_config(config)
        if not is_running:
            _start(state, secrets)
    if lasts:
        _mine[state.folder] = secrets
        hooks.after_run["keep"] = _after_run
        _supervise()
    return _status(state, config, "keeping" if is_new else "up-to-date", notes)


def kept(
    source: str | os.PathLike[str] | None = None,
    *,
    now: bool = False,
    stop: bool = False,
    settings: Settings | None = None,
) -> list[KeepStatus]:
    """Tell how far the keeping of a folder is, or of every folder; have all of it pushed, or ended, and wait for that.

    Parameters
    ----------
    source : str or path-like, optional
        The folder; by default every one that is or was kept on this machine.
    now, stop : bool, optional
        Push now; push and end.
    settings : Settings, optional
        By default read from the environment.

    Raises
    ------
    LayoutError
        When that folder was never kept.
    """
    states, settings = State.every(), settings or Settings.load()
    if source is not None:
        states = [State.of(drive.expand(source, settings))]
        if states[0].config() is None:
            raise LayoutError(f"{os.fspath(source)!r} is not kept; keep {source} DEST begins to")
    if now or stop:
        # One that was killed is started again when it is this process's, or meant by name.
        begun = [state for state in states if state.config() and not state.progress().ended]
        begun = [one for one in begun if source is not None or one.folder in _mine or one.progress().is_running]
        for state in begun:
            _ask(state, stop=stop)
        _wait(begun, float("inf"), settings, stop=stop)
        for state in begun if stop else ():
            _mine.pop(state.folder, None)
    return [_status(state, config) for state in states if (config := state.config())]


def restore(
    dest: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dry_run: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> SyncResult:
    """Bring back what is kept at `dest`: what is missing in `source`, or differs.

    A file of `source` that is newer than what was kept of it stays. Any other that differs is moved to
    ``SOURCE/.colab_magics/backup/`` before it is replaced.

    Parameters
    ----------
    dest, source : str or path-like
        As in `keep`.
    include, exclude, dry_run, settings
        As in `keep`.
    progress : Progress, optional
        Hears how far it is.

    Returns
    -------
    SyncResult
    """
    began = time.monotonic()
    place, absolute, secrets = _places(source, dest, settings or Settings.load())
    shown = os.fspath(dest)
    state = State.of(place)
    destination = open_destination(absolute, f"{state.folder.name}-restore", secrets)
    journal = state.journal(absolute).refresh()
    selection = Selection(tuple(include), tuple(exclude))
    result = SyncResult(Path(source), status="planned" if dry_run else "up-to-date")
    todo: dict[str, Copy] = {}
    with _answers(shown):
        copies = {name: copy for name, copy in sorted(destination.copies().items()) if selection.takes(name)}
        for name, copy in copies.items():
            cancellation.check()
            path = place / name
            record = journal.records.get(name)
            if not os.path.lexists(path):
                result.added.append(name)
                todo[name] = copy
            elif path.is_file() and record and record.fits(path.stat()) and record.copy.mark == copy.mark:
                result.unchanged.append(name)
            elif path.is_file() and destination.holds(name, copy, str(path)):
                result.unchanged.append(name)
                if not dry_run:
                    journal.keep(name, path.stat(), name, copy)
            elif path.is_file() and record and record.copy.mark == copy.mark:
                result.unchanged.append(name)
                progress.say(f"{result.path / name} is newer than what is kept of it, and stays")
            else:
                result.updated.append(name)
                result.backed_up.append(name)
                todo[name] = copy
    if not copies:
        progress.say(f"nothing is kept at {shown} yet, so there is nothing to bring back")
    if todo and not dry_run:
        size = sum(copy.size for copy in todo.values())
        check_room(place, size, os.fspath(source))
        work = place / FOLDER / f"restore-{os.getpid()}"
        progress.begin(f"{result.path} from {shown}", size)
        try:
            with disk_errors(place, os.fspath(source)):
                work.mkdir(parents=True, exist_ok=True)
            for name, copy in todo.items():
                cancellation.check()
                fresh = work / "copy"
                with _answers(shown):
                    destination.fetch(name, copy, str(fresh))
                with disk_errors(place, os.fspath(source)), cancellation.committing():
                    _bring_in(place, name, fresh)
                    journal.keep(name, (place / name).stat(), name, copy)
                progress.advance(copy.size)
            result.status, result.bytes_received = "synced", size
        finally:
            progress.end()
            shutil.rmtree(work, ignore_errors=True)
            with contextlib.suppress(OSError):  # a backup lies there
                work.parent.rmdir()
    result.seconds = time.monotonic() - began
    return result


def news() -> list[str]:
    """Return, once, what a person has to know of the folders that this process keeps."""
    lines = []
    for folder in _mine:
        state = State(folder)
        if config := state.config():
            status = _status(state, config)
            what = (frozenset(status.failed.values()), frozenset(status.beside))
            if what != _told.get(folder, (frozenset(), frozenset())):
                _told[folder] = what
                lines += status.problems() or [f"{status.source} is kept at {status.dest} again"]
    return lines


def _places(
    source: str | os.PathLike[str], dest: str | os.PathLike[str], settings: Settings
) -> tuple[Path, str, dict[str, str]]:
    """Return SOURCE and DEST as absolute paths, and what DEST needs."""
    place = Path(os.path.realpath(drive.expand(source, settings)))
    if place.exists() and not place.is_dir():
        raise LayoutError(f"{os.fspath(source)!r} is a file; keep its folder, with --include for it alone")
    if os.fspath(dest).startswith("dropbox:"):
        from colab_magics.core.keeping.dropbox import address_of  # here: a folder needs no network

        return place, address_of(os.fspath(dest)), _secrets(os.fspath(dest), settings)
    there = Path(os.path.realpath(drive.expand(dest, settings)))
    if there.exists() and not there.is_dir():
        raise LayoutError(f"{os.fspath(dest)!r} is a file, and has to be a folder; give another place")
    if place.is_relative_to(there) or there.is_relative_to(place):
        raise LayoutError(
            f"{os.fspath(source)!r} and {os.fspath(dest)!r} lie in each other (a symlink may lead there); keep a local "
            "folder, which training writes to, at another place"
        )
    return place, str(there), {}


def _notes(source: str | os.PathLike[str], place: Path, dest: str | os.PathLike[str], absolute: str) -> list[str]:
    """Say what a typing error would have brought about."""
    notes = [] if place.exists() else [f"{os.fspath(source)} was not there, and is made"]
    is_plain = not os.fspath(dest).startswith(("dropbox:", "drive:"))
    if is_plain and are_together(place, Path(absolute)):
        notes.append(f"{os.fspath(dest)} is on the same disk as {os.fspath(source)}, and is lost together with it")
    return notes


def _secrets(dest: str, settings: Settings) -> dict[str, str]:
    """Return what a keeper needs to know to write to DEST."""
    if not dest.startswith("dropbox:"):
        return {}
    from colab_magics.core.keeping.dropbox import secrets_for  # here: a folder needs no network

    return secrets_for(settings)


def _start(state: State, secrets: dict[str, str]) -> None:
    """Start a keeper, and wait until it works."""
    for _ in range(_STARTS):
        child = _started(state, secrets)
        ends = time.monotonic() + _START
        while state.progress().keeper[0] != child.pid and child.poll() is None and time.monotonic() < ends:
            time.sleep(_LOOK / 5)
        if state.progress().keeper[0] == child.pid:
            threading.Thread(target=child.wait, daemon=True, name="keeper").start()  # so that no zombie is left
            return
        if child.poll() is None or child.returncode >= 0:
            break
    lines = (state.folder / _LOG).read_text("utf-8", "replace").splitlines() or [f"status {child.poll()}"]
    raise TransferError(f"the process that keeps files did not start: {lines[-1]}")


def _started(state: State, secrets: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a keeper."""
    code = "import sys; from colab_magics.core.keeping.keeper import main; sys.exit(main())"
    env = {name: value for name, value in os.environ.items() if _ENVIRONMENT.fullmatch(name)}
    package = str(Path(colab_magics.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [package, env.get("PYTHONPATH")]))
    given = {name: value for name, value in os.environ.items() if _NETWORK.fullmatch(name)}
    with open(state.folder / _LOG, "wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(state.folder)],
            stdin=subprocess.PIPE,
            stdout=errors,
            stderr=errors,
            cwd="/",
            env=env,
            start_new_session=True,  # it outlives this process, and hears of no Ctrl-C
        )
    assert child.stdin  # noqa: S101 - it is a pipe
    with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
        pipe.write(json.dumps({"environ": given, "secrets": secrets}).encode())
    return child


def _supervise() -> None:
    """Start again, as long as this process lives, a keeper that something has killed."""

    def work() -> None:
        while _mine:
            time.sleep(_SUPERVISE)
            for folder, secrets in list(_mine.items()):
                state = State(folder)
                with contextlib.suppress(Exception):  # tried again
                    _revive(state, secrets)

    if not any(thread.name == "keepers" for thread in threading.enumerate()):
        threading.Thread(target=work, daemon=True, name="keepers").start()


def _revive(state: State, secrets: dict[str, str]) -> None:
    """Start a keeper again that something has killed."""
    with state.changing():
        config, progress = state.config(), state.progress()
        if config and not progress.ended and not progress.is_running:
            _start(state, secrets)


def _ask(state: State, *, stop: bool = False) -> None:
    """Ask a keeper to push now."""
    with state.changing():
        config = state.config()
        if config:
            config.request, config.stop = config.request + 1, config.stop or stop
            state.write_config(config)


def _wait(states: Sequence[State], patience: float, settings: Settings, *, stop: bool = False) -> None:
    """Wait until keepers have pushed, or ended."""
    began = time.monotonic()
    for state in states:
        while (waited := time.monotonic() - began) < patience:
            config, progress = state.config(), state.progress()
            if not config or progress.ended or (not stop and progress.answered == config.request):
                break
            if progress.answered == config.request and waited > _REFUSED:
                break  # its status says that it goes on, and until when
            if not progress.is_running:
                _revive(state, _mine.get(state.folder) or _secrets(config.dest, settings))
            cancellation.sleep(_LOOK)


def _after_run(progress: Progress) -> None:
    """Push what a command has made; say what is not there in time."""
    with contextlib.suppress(Exception):  # the keeper goes on in any case, and the command's end is what counts
        for line in _pushed(_AFTER_RUN):
            progress.say(line)


def _pushed(patience: float) -> list[str]:
    """Have all that this process keeps pushed; return what is not there in time."""
    states = [state for folder in _mine if not (state := State(folder)).progress().ended]
    for state in states:
        _ask(state)
    _wait(states, patience, Settings.load())
    told = [_status(state, config).problems() for state in states if (config := state.config())]
    return [line for lines in told for line in lines]


@atexit.register
def _at_exit() -> None:
    with contextlib.suppress(Exception):
        for line in _pushed(_AT_EXIT) if _mine else ():
            sys.stderr.write(f"{line}\n")


def _status(state: State, config: Config, status: str | None = None, notes: Sequence[str] = ()) -> KeepStatus:
    progress = state.progress()
    is_ending = progress.is_running and progress.until > 0
    if status is None:
        status = "ended" if progress.ended else "killed" if not progress.is_running else "keeping"
        status = "ending" if is_ending else status
    records = state.journal(config.dest).refresh().records
    return KeepStatus(
        Path(config.source),
        config.shown,
        sorted(records),
        progress.pending,
        progress.failed,
        sum(record.copy.size for record in records.values()),
        max((record.time for record in records.values()), default=None),
        beside={name: record.at for name, record in records.items() if record.at != name},
        unconfirmed=progress.unconfirmed,
        status=status,
        until=progress.until if is_ending else None,
        notes=[*notes, *_links(progress.linked)],
    )


def _links(linked: list[str]) -> list[str]:
    if not linked:
        return []
    more = f" and {len(linked) - 1} more" if len(linked) > 1 else ""
    return [f"{readable(linked[0])}{more}: a symlink to a folder is not followed, keep that folder by itself"]


def _bring_in(place: Path, name: str, fresh: Path) -> None:
    """Put a file at its place; what stands there is moved to the backup."""
    path = place / name
    if os.path.lexists(path):
        backup = free_name(place / FOLDER / "backup" / name)
        backup.parent.mkdir(parents=True, exist_ok=True)
        move(path, backup)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(fresh, path)


@contextlib.contextmanager
def _answers(shown: str) -> Iterator[None]:
    """Say in one line what a destination refuses."""
    try:
        yield
    except ChangedError:
        raise TransferError(f"a file at {shown} changed while it was brought back; run it again") from None
    except OSError as error:
        if isinstance(error, TransferError):
            raise
        raise TransferError(f"{shown} cannot be read: {error.strerror or error}; run it again") from None
