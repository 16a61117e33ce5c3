"""The process that keeps a folder: it looks at SOURCE, and copies what held still over two looks.

It is one of its own, so that it outlives the kernel, and loads nothing heavy. What it is to do stands in the state's
configuration; what came through its standard input (credentials) is nowhere else.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from colab_magics.core.common import mutex
from colab_magics.core.common.selection import Selection
from colab_magics.core.keeping.destinations import (
    ChangedError,
    Copy,
    Destination,
    Held,
    MovedError,
    Put,
    open_destination,
)
from colab_magics.core.keeping.destinations import version as version_of
from colab_magics.core.keeping.source import Changes, files_below, is_cut_short, natural
from colab_magics.core.keeping.state import Journal, Progress, State, alive, process
from colab_magics.errors import ColabMagicsError

__all__ = ["Keeper", "main"]

_TICK = 0.5  # seconds between two looks at whether somebody asks for something
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_STILL = 1.0  # seconds between two looks at a file that is to have held still
_PATIENCE = 20.0  # seconds in which a file that does not hold still is looked at again, before the next interval
_MOVING = "is being written"
_ROUNDS = 3  # looks after which who asked need not wait for files that are written to all the time
_RESCAN = 300.0  # seconds after which all is looked at, whatever was heard: a write through mmap is not
_BACKOFF = 300.0  # seconds between two tries, at most
_LAST = 8.0  # seconds for a last push after SIGTERM: what sends it kills soon
_GONE = 3600.0  # seconds that a last push is tried for when nobody is left to be told
_SEVERAL = 3  # failures in a row after which the destination, not a file, is taken to be the reason


class Keeper:
    """Keeps one folder.

    Parameters
    ----------
    state : State
        Its state.
    secrets : dict of str to str
        What the destination needs.
    """

    def __init__(self, state: State, secrets: dict[str, str]) -> None:
        self.stamp = state.config_stamp()
        config = state.config()
        assert config  # noqa: S101 - it is written before a keeper is started
        self.state, self.config = state, config
        self.dest: Destination = open_destination(config.dest, state.folder.name, secrets)
        self.journal: Journal = state.journal(config.dest).refresh()
        self.changes = Changes()
        self.progress = Progress(keeper=process())
        self.there: dict[str, Copy] | None = None  # what stood at DEST when last looked at
        # When a file was first seen as it is now; on this machine's clock, so that it counts for the next keeper too.
        self.looks = {name: (tuple(seen), when) for name, (seen, when) in state.progress().looks.items()}
        self.confirmed: dict[str, Copy] = {}
        self.tries = self.streak = 0  # how often it has failed: pushes, and files one after the other
        self.is_ending = self.is_terminated = False
        self.ends = float("inf")  # when to end, come what may

    def run(self) -> None:
        """Keep it until nothing is left to watch."""
        with self.failures("DEST"):
            self.dest.clear()
        due, scanned = 0.0, float("-inf")
        while True:
            if (stamp := self.state.config_stamp()) != self.stamp:
                self.stamp, self.config, due = stamp, self.state.config() or self.config, 0.0
            if self.is_ending != self.is_to_end():
                self.is_ending, due = not self.is_ending, 0.0
                if not self.is_terminated:
                    self.ends = time.monotonic() + _GONE if self.is_ending else float("inf")
            asked, now = self.config.request, time.monotonic()
            if asked != self.progress.answered or now >= due:
                is_wanted = asked != self.progress.answered or self.is_ending or self.tries or self.progress.pending
                if asked != self.progress.answered:
                    self.there = None  # what may have gone there meanwhile is not to be said to be there
                if self.changes.heard() or is_wanted or now - scanned > _RESCAN:
                    scanned = now
                    self.push()
                self.progress.answered = asked
                wait = min(2.0**self.tries, _BACKOFF) if self.tries else self.config.every
                due = time.monotonic() + (min(wait, _PATIENCE) if self.is_ending else wait)
                self.write()
            is_over = time.monotonic() >= self.ends or not (self.looks or self.tries)
            if self.is_ending and is_over and self.ended():
                return
            time.sleep(_TICK)

    def is_to_end(self) -> bool:
        """Tell whether nothing is left to watch."""
        watch = self.config.watch
        return self.is_terminated or self.config.stop or (bool(watch) and not any(alive(one) for one in watch))

    def ended(self) -> bool:
        """End, unless somebody has asked for something meanwhile."""
        with self.state.changing():
            if self.state.config_stamp() != self.stamp and not self.is_terminated:
                return False
            with self.failures("DEST"):
                self.dest.clear()
            self.progress.ended = True
            self.write()
        return True

    def terminate(self, *_: object) -> None:
        """Take a signal: what can be pushed in a few seconds still is."""
        self.is_terminated, self.ends = True, time.monotonic() + _LAST

    def write(self) -> None:
        """Say how far it is."""
        self.progress.looks = self.looks
        self.progress.until = time.time() + self.ends - time.monotonic() if self.is_ending else 0.0
        with contextlib.suppress(OSError):  # said the next time
            self.state.write_progress(self.progress)

    def push(self) -> None:
        """Copy what is not at DEST as it is in SOURCE; look again, for a while, at what does not hold still."""
        ends, failed = time.monotonic() + min(_PATIENCE, self.config.every), self.tries
        is_asked, moving = self.config.request != self.progress.answered, 0
        with self.failures("SOURCE"):
            while self.copy_what_held_still() and time.monotonic() < min(ends, self.ends):
                moving = moving + 1 if set(self.progress.pending.values()) == {_MOVING} else 0
                if (is_asked and moving == _ROUNDS) or self.state.config_stamp() != self.stamp:
                    break  # nobody waits for these; or somebody asks for something else
                self.write()
                time.sleep(_STILL)
        with self.failures("--last"):
            self.prune()
        with self.failures("DEST"):
            self.confirm()
        self.journal.sync()
        self.tries = failed + 1 if self.progress.failed else 0

    def copy_what_held_still(self) -> bool:
        """Look at everything once; tell whether a look again makes sense soon."""
        self.journal.refresh()
        before = time.clock_gettime(_CLOCK)
        selection = Selection(tuple(self.config.include), tuple(self.config.exclude))
        self.progress.pending, self.progress.failed, self.streak = {}, {}, 0
        if self.there is None:
            with self.failures("DEST"):
                self.reconcile()
        self.progress.linked = list[str]()
        watch, note = self.changes.watch, self.progress.linked.append
        scan = files_below(self.config.source, links=True, enter=watch, linked=note, refused=self.failures)
        found = {name: status for name, status in scan if selection.takes(name)}
        after = time.clock_gettime(_CLOCK)
        surplus = self.surplus({name: status.st_mtime_ns for name, status in found.items()})
        todo = {name: found[name] for name in found.keys() - surplus if not self.is_kept(name, found[name])}
        looks, self.looks = self.looks, {}
        still = []
        for name, status in todo.items():
            seen = looks.get(name)
            is_same = seen is not None and seen[0] == version_of(status)
            if seen and is_same and before - seen[1] >= _STILL:
                still.append(name)
                self.progress.pending[name] = "waits for its turn"
            else:
                self.progress.pending[name] = _MOVING if seen and not is_same else "waits for a second look"
            self.looks[name] = seen if seen and is_same else (version_of(status), after)
        said = time.monotonic()
        for names in self.together(self.in_turn(still, todo), todo):
            if time.monotonic() > self.ends or self.streak >= _SEVERAL:
                break
            for name in self.copy_together(names, todo) if len(names) > 1 else names:
                with self.failures(name):
                    self.copy(name, todo[name])
            if time.monotonic() - said > 1.0:
                said = time.monotonic()
                self.write()
        return len(self.looks) > len(self.progress.failed) and self.streak < _SEVERAL

    def in_turn(self, names: list[str], found: dict[str, os.stat_result]) -> list[str]:
        """Sort files: the older first, but last what was begun and not ended, so that it holds up nothing else."""
        begun = {name: number for number, name in enumerate(self.journal.intents, 1)}  # the one begun last is the last
        return sorted(names, key=lambda name: (begun.get(name, 0), found[name].st_mtime_ns))

    @contextlib.contextmanager
    def failures(self, name: str) -> Iterator[None]:
        """Note why something failed; it is tried again."""
        try:
            yield
        except (OSError, ColabMagicsError) as error:
            self.streak += 1
            self.progress.pending.pop(name, None)
            self.progress.failed[name] = (error.strerror if isinstance(error, OSError) else None) or str(error)
        else:
            self.streak = 0

    def is_kept(self, name: str, status: os.stat_result) -> bool:
        """Tell whether a file of SOURCE stands at DEST as it is."""
        record = self.journal.records.get(name)
        return record is not None and record.fits(status)

    def copy(self, name: str, status: os.stat_result) -> None:
        """Copy one file, if it is still what it was at two looks."""
        path = os.path.join(self.config.source, name)
        try:
            with open(path, "rb", buffering=0) as file:
                held = Held(path, file, status)
                held.check()
                record = self.journal.records.get(name)
                if is_cut_short(name, file, status.st_size, record.size if record else 0):
                    self.progress.pending[name] = "is cut short: it is empty, or by its own format its end is missing"
                    del self.looks[name]
                    return
                at, copy = self.put(name, held)
        except (MovedError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and os.path.lexists(path):
                raise  # it is the destination that is not there
            self.progress.pending[name] = _MOVING
            return
        self.journal.keep(name, status, at, copy)
        del self.looks[name], self.progress.pending[name]

    def together(self, names: list[str], found: dict[str, os.stat_result]) -> Iterator[list[str]]:
        """Group files: small ones that the destination takes together, where it does; each other alone."""
        batches, small = self.dest.batches, list[str]()
        for name in names:
            if batches and found[name].st_size <= batches.largest:
                small.append(name)
            else:
                yield [name]
            if batches and len(small) == batches.most:
                yield small
                small = []
        if small:
            yield small

    def copy_together(self, names: list[str], found: dict[str, os.stat_result]) -> list[str]:
        """Copy small files in one go, as far as nothing is unusual; return those that are to be copied one by one."""
        assert self.dest.batches  # noqa: S101 - it has made the group
        puts, alone = dict[str, Put](), list[str]()
        with contextlib.ExitStack() as opened:
            for name in names:
                record, path = self.journal.records.get(name), os.path.join(self.config.source, name)
                try:
                    file = opened.enter_context(open(path, "rb", buffering=0))
                    held = Held(path, file, found[name])
                    held.check()
                    is_usual = record is not None or name not in self.at_dest()
                    is_short = is_cut_short(name, file, found[name].st_size, record.size if record else 0)
                except (MovedError, OSError, ColabMagicsError):
                    is_usual = False
                if not is_usual or is_short:
                    alone.append(name)
                else:
                    self.journal.intend(name, found[name].st_size, found[name].st_mtime_ns)
                    puts[name] = Put(record.at if record else name, held, record.copy if record else None)
            results = list[Copy | Exception]()
            with self.failures("DEST"):
                results = self.dest.batches.put(list(puts.values()))
        for name, result in zip(puts, results, strict=False):  # none at all when it failed
            if isinstance(result, Copy):
                self.journal.keep(name, found[name], puts[name].name, result)
                del self.looks[name], self.progress.pending[name]
            else:
                alone.append(name)
        return alone

    def put(self, name: str, held: Held) -> tuple[str, Copy]:
        """Put a file at DEST; return the name that it has there, another one when somebody else's stands at its own."""
        record, intent = self.journal.records.get(name), self.journal.intents.get(name)
        at, replaces = (record.at, record.copy) if record else (name, None)
        if record is None and at in self.at_dest() and self.dest.holds(at, self.at_dest()[at], held.path):
            return at, self.at_dest()[at]
        self.journal.intend(name, held.status.st_size, held.status.st_mtime_ns)
        for place in itertools.chain([at], beside(name)):
            try:
                return place, self.dest.put(place, held, replaces if place == at else None)
            except ChangedError:
                now = self.dest.copies().get(place)
            # Ours, when this keeper was killed between putting it there and saying so.
            if now and (self.dest.holds(place, now, held.path) or is_intended(now, intent)):
                return place, self.dest.put(place, held, now)
        raise AssertionError  # there is no end of names

    def at_dest(self) -> dict[str, Copy]:
        """Return what stood at DEST when this keeper began, or somebody last asked it to push."""
        if self.there is None:
            self.there = self.dest.copies()
        return self.there

    def surplus(self, times: dict[str, int]) -> set[str]:
        """Return the files that ``--last`` leaves out: what a rule matches but its newest, unless another wants it."""
        times = {name: record.mtime_ns for name, record in self.journal.records.items()} | times
        matched: set[str] = set()
        wanted: set[str] = set()
        for count, glob in self.config.last:
            takes = Selection((glob,)).takes
            names = sorted((name for name in times if takes(name)), key=lambda name: (times[name], natural(name)))
            matched.update(names)
            wanted.update(names[-count:])
        return matched - wanted

    def prune(self) -> None:
        """Remove at DEST what is surplus, once all that is newer and wanted is there."""
        records = self.journal.records
        times = {name: look[0][1] for name, look in self.looks.items()}
        for name in self.surplus(times) & records.keys():
            rules = [Selection((glob,)) for _, glob in self.config.last if Selection((glob,)).takes(name)]
            waiting = [*self.progress.pending, *self.progress.failed]
            if any(rule.takes(other) for rule in rules for other in waiting):
                continue
            with contextlib.suppress(ChangedError):  # then it is somebody else's by now
                self.dest.delete(records[name].at, records[name].copy)
            self.journal.forget(name)

    def confirm(self) -> None:
        """Ask how many copies are at their last and safe place."""
        unknown, on_way = 0, []
        for name, record in self.journal.records.items():
            if self.confirmed.get(name) == record.copy:
                continue
            confirmed = self.dest.confirmed(record.at, record.copy)
            if confirmed:
                self.confirmed[name] = record.copy
            unknown += confirmed is None
            on_way += [name] if confirmed is False else []
        self.progress.pending |= dict.fromkeys(on_way, "is on its way from there")
        self.progress.unconfirmed = f"{unknown} {self.dest.unconfirmed}" if unknown else ""

    def reconcile(self) -> None:
        """Forget what is not at DEST any more, so that it is copied again."""
        there = self.at_dest()
        for name, record in list(self.journal.records.items()):
            if record.at not in there:
                self.journal.forget(name)


def beside(name: str) -> Iterator[str]:
    """Yield the names that a copy gets beside what somebody else has put at its own."""
    path = PurePosixPath(name)
    host = socket.gethostname().partition(".")[0] or "here"
    for number in itertools.count(1):
        again = f" {number}" if number > 1 else ""
        yield str(path.with_name(f"{path.stem} (kept from {host}{again}){path.suffix}"))


def is_intended(copy: Copy, intent: tuple[int, int] | None) -> bool:
    """Tell whether a copy is what was about to take its place; some destinations keep times to two seconds only."""
    return intent is not None and copy.size == intent[0] and abs(copy.mtime_ns - intent[1]) <= 2_000_000_000


def main() -> int:
    """Run a keeper: the folder of its state is the argument, and what it must not show comes as JSON."""
    state = State(Path(sys.argv[1]))
    given = json.load(sys.stdin)
    os.environ.update(given["environ"])  # here: what a process was started with can be read by others
    for _ in range(40):
        held = mutex.acquired(state.folder / "keeper")
        if held is not None:
            break
        time.sleep(0.05)
    else:
        return 0  # another one keeps it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keeper = Keeper(state, given["secrets"])
    signal.signal(signal.SIGTERM, keeper.terminate)
    signal.signal(signal.SIGHUP, keeper.terminate)
    keeper.write()
    keeper.run()
    return 0
