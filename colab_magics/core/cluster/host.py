"""What runs on a worker: a block once a host, and for each worker what ends with its own process.

A *host* here is a machine with an interpreter and a working folder: two workers of one machine that have different ones
are two hosts, as what a block makes for the one is not there for the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import colab_magics
from colab_magics import masking
from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.lockfile import Lock
from colab_magics.core.blocks.plan import Plan, Step, read_plan
from colab_magics.core.blocks.runner import Report, bootstrap
from colab_magics.core.cluster import sealing
from colab_magics.core.cluster.order import Answer, Event, Order
from colab_magics.core.common import environment, mutex
from colab_magics.core.common.disk import size_text
from colab_magics.core.common.files import write_whole
from colab_magics.core.common.results import BootstrapResult, StepResult
from colab_magics.core.common.settings import Settings
from colab_magics.core.packages import installed, stale_modules
from colab_magics.core.secrets import secrets, sources
from colab_magics.errors import ColabMagicsError, Interrupted, StepError, TokenError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

__all__ = ["perform", "place", "probe", "stop"]

_LOOK = 0.1  # seconds between two looks at whether another worker of the host is done
_PAUSE = 0.25  # seconds between two things that are said of how far it is
_OUTPUT = 1 << 16  # characters of output that one message has at most

_WITHHELD = "https://withheld.invalid/"  # stands for a variable that holds a link and was not sent

Emit = Callable[[Event], None]

_stops: dict[str, threading.Event] = {}
_done: set[str] = set()  # the blocks that this process has what it needs of
_keys: dict[str, X25519PrivateKey] = {}


def stop(run: str) -> None:
    """Have this process stop what it does for a call, and not begin what it has not begun."""
    _stops.setdefault(run, threading.Event()).set()


def place(order: Order) -> str:
    """Name the host that this worker is on, for what is remembered there of a block."""
    known = [order.digest, socket.gethostname(), os.getuid(), sys.prefix, os.getcwd()]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]


def probe(order: Order, _emit: Emit, _parcel: str = "") -> Answer:
    """Say where this worker is, and what it lacks for an order."""
    settings = Settings.load()
    known = {"place": place(order), "host": socket.gethostname(), "version": colab_magics.__version__}
    known["environment"] = environment.detect(override=settings.env)
    lacks: list[str] = []
    try:
        lacks = [need for need in order.needs if not _has(need, settings)]
    except ColabMagicsError as error:  # a token file that cannot be read
        known["error"] = str(error)
    if order.asks_for_key and sealing.can_seal():
        _keys[order.run] = sealing.new_key()
        known["key"] = sealing.public(_keys[order.run])
    return {**known, "lacks": lacks}


def _has(need: str, settings: Settings) -> bool:
    kind, _, name = need.partition(":")
    if kind == "host":
        return secrets.host_token(name, settings) is not None
    try:
        return bool(secrets.named(name, settings, prompt=False))
    except TokenError:
        return False


def perform(order: Order, emit: Emit, parcel: str = "") -> Answer:
    """Do an order: the block if no other worker of this host does or did it, then what this process needs of its own.

    Raises nothing: what went wrong is in the answer, as the engine would write down an error with what it was given.
    """
    if order.joins and order.digest in _done:
        return _answer(order, "up-to-date", "")
    stopped = _stops.setdefault(order.run, threading.Event())
    try:
        return _perform(order, emit, stopped, _opened(order, parcel))
    except ColabMagicsError as error:
        return _answer(order, "failed", str(error))
    except KeyboardInterrupt:
        return _answer(order, "interrupted", "")
    except Exception as error:  # noqa: BLE001 - as said above
        return _answer(order, "failed", masking.redact(f"{type(error).__name__}: {error}"))
    finally:
        if not order.joins:
            _stops.pop(order.run, None)


def _perform(order: Order, emit: Emit, stopped: threading.Event, sent: dict[str, Any]) -> Answer:
    settings = Settings.load(jobs=order.jobs, installer=order.installer)
    missing = order.withheld if "variables" not in sent else ()
    with sources.lent(sent.get("secrets", {}), sent.get("tokens", {})):
        variables = {**os.environ, **order.variables, **dict.fromkeys(missing, _WITHHELD), **sent.get("variables", {})}
        plan = read_plan(order.block, variables, settings=settings)
        own = tuple(step for step in plan.steps if verbs.get(step.verb).in_process)
        before = installed.snapshot()
        memory = _memory(order)
        with _turn(memory, stopped):
            done = _remembered(order, memory)
            mine = done is None
            if missing and (mine or any(_WITHHELD in repr(step.args) for step in own)):
                raise TokenError(
                    f"${missing[0]} holds a secret, which was sent for that call alone; run the block again for the "
                    "workers that joined, or name it as secret:NAME, which each host finds itself"
                )
            if done is None:
                done = _once(order, plan, settings, _Telling(order, emit, stopped))
                write_whole(memory, json.dumps(done).encode())
        if done["status"] in {"failed", "interrupted"} or order.dry_run:
            return {**done, "mine": mine}
        stale_modules.activate_user_site()
        stale_modules.activate(before, installed.snapshot())
        if not mine:
            bootstrap(Plan(own, plan.text), settings=settings)
        _done.add(order.digest)
        return {**done, "mine": mine}


def _opened(order: Order, parcel: str) -> dict[str, Any]:
    """Return what was sent sealed, which this process alone can open, and once."""
    key = _keys.pop(order.run, None)
    sent: dict[str, Any] = json.loads(sealing.opened(parcel, key)) if key and parcel else {}
    for text in (*sent.get("variables", {}).values(), *sent.get("secrets", {}).values()):
        if masking.can_mask(text):
            masking.register(text)
    return sent


def _memory(order: Order) -> Path:
    """Return the file that remembers what this block came to on this host: it goes when the host's disk does."""
    folder = Path(tempfile.gettempdir()) / f"colab_magics-{os.getuid()}" / "hosts"
    for path in (folder.parent, folder):
        path.mkdir(exist_ok=True, mode=0o700)
        if path.stat().st_uid != os.getuid() or path.is_symlink():
            raise ColabMagicsError(f"{path} is somebody else's; set TMPDIR to a folder of your own")
    return folder / f"{place(order)}.json"


@contextmanager
def _turn(memory: Path, stopped: threading.Event) -> Iterator[None]:
    """Hold the host's mutex on a block; others wait."""
    while (number := mutex.acquired(memory)) is None:
        if stopped.wait(_LOOK):
            raise KeyboardInterrupt
    try:
        if stopped.is_set():
            raise KeyboardInterrupt
        yield
    finally:
        os.close(number)


def _remembered(order: Order, memory: Path) -> Answer | None:
    """Return what the block came to on this host, when that still holds for an order."""
    try:
        done: Answer = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return None
    if done["run"] == order.run:
        return done
    if not order.joins or done["status"] not in {"done", "up-to-date"}:
        return None
    if order.lock and Lock.parse(done["lock"]).differences(Lock.parse(order.lock), done["changed"]):
        return None
    found = installed.snapshot()
    held = Lock.parse(done["lock"]).packages
    if any(name not in found or found[name].version != held.get(name) for name in done["changed"]):
        return None  # somebody took it away since
    return done


def _once(order: Order, plan: Plan, settings: Settings, report: _Telling) -> Answer:
    """Run the block, and return what it came to."""
    began = time.monotonic()
    before = {name: dist.version for name, dist in installed.snapshot().items()}
    with tempfile.TemporaryDirectory(prefix="colab_magics-") as folder:
        made, held = Path(folder, "lock.json"), Path(folder, "held.json")
        if order.lock:
            held.write_text(order.lock, "utf-8")
        try:
            result = bootstrap(
                plan,
                dry_run=order.dry_run,
                lock=made,
                frozen=held if order.lock else None,
                settings=settings,
                report=report,
                rank=int(place(order) != order.first),
            )
        except (StepError, Interrupted) as error:
            status = "failed" if isinstance(error, StepError) else "interrupted"
            steps = error.result.steps if isinstance(error.result, BootstrapResult) else []
            return _answer(order, status, str(error) if status == "failed" else "", began, steps)
        finally:
            report.flush()
        ended = {step.status for step in result.steps}
        status = "planned" if order.dry_run else "up-to-date" if ended <= {"up-to-date", "skipped"} else "done"
        lock = "" if order.dry_run else made.read_text("utf-8")
    after = Lock.parse(lock).packages if lock else {}
    changed = [name for name, version in after.items() if before.get(name) != version]
    detail = repr(result).removeprefix("bootstrap: ")
    return {**_answer(order, status, detail, began, result.steps), "lock": lock, "changed": changed}


def _answer(
    order: Order, status: str, detail: str, began: float | None = None, steps: Sequence[StepResult] = ()
) -> Answer:
    return {
        "run": order.run,
        "place": place(order),
        "mine": False,
        "status": status,
        "detail": masking.redact(detail),
        "seconds": time.monotonic() - began if began is not None else 0.0,
        "steps": [{**vars(step), "detail": masking.redact(step.detail)} for step in steps],
        "lock": "",
        "changed": [],
    }


class _Telling(Report):
    """Says now and then how far the block is, and what its commands print, masked; stops it when it is told to."""

    def __init__(self, order: Order, emit: Emit, stopped: threading.Event) -> None:
        self._place, self._emit, self._stopped = place(order), emit, stopped
        self._lock = threading.Lock()
        self._running: dict[int, _Row] = {}
        self._output: list[str] = []
        self._count = self._ended = 0
        self._said, self._last = "", 0.0

    def begin(self, steps: Sequence[Step]) -> None:
        self._count = len(steps)

    def started(self, step: Step) -> None:
        self._running[step.line] = _Row(step, self)
        self.tick()

    def progress(self, step: Step) -> _Row:
        return self._running[step.line]

    def ended(self, step: Step, result: StepResult) -> None:  # noqa: ARG002 - as the base class has it
        self._running.pop(step.line, None)
        self._ended += 1

    def say(self, text: str) -> None:
        """Ignore it: the lock is written for the call and goes to whoever made it."""

    def print(self, text: str) -> None:
        """Pass on a text; called from other threads."""
        with self._lock:
            self._output.append(text)

    def tick(self) -> None:
        if self._stopped.is_set():
            raise KeyboardInterrupt
        if time.monotonic() - self._last >= _PAUSE:
            self._last = time.monotonic()
            self.flush()

    def flush(self) -> None:
        """Say what was not said yet."""
        with self._lock:
            text, self._output = "".join(self._output), []
        for at in range(0, len(text), _OUTPUT):
            self._emit({"place": self._place, "output": masking.redact(text[at : at + _OUTPUT])})
        first = next(iter(self._running.values()), None)
        said = masking.redact(str(first)) if first else ""
        if said != self._said:
            self._said = said
            self._emit(
                {"place": self._place, "detail": f"{self._ended} of {self._count} steps; {said}" if said else ""}
            )


class _Row:
    """How far a step is, as a `Progress`."""

    shows_output = True

    def __init__(self, step: Step, telling: _Telling) -> None:
        self._step, self._telling = step, telling
        self._label, self._total, self._received = "", 0, 0

    def begin(self, label: str, total: int | None = None) -> None:
        self._label, self._total, self._received = label, total or 0, 0

    def advance(self, amount: int) -> None:
        self._received += amount

    def end(self) -> None:
        self._label = ""

    def say(self, text: str) -> None:
        self._telling.print(f"line {self._step.line}: {text}\n")

    def output(self, text: str) -> None:
        self._telling.print(text)

    def __str__(self) -> str:
        parts = [f"line {self._step.line}: {self._step.verb}", self._label]
        if self._received:
            parts.append(size_text(self._received) + (f" of {size_text(self._total)}" if self._total else ""))
        return " ".join(filter(None, parts))
