"""Hosts of a cluster on this machine: each with a host name, a home, a working folder and an interpreter of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from conftest import Venv
from jupyter_client import session

_PATIENCE = 120.0  # seconds that a process has to do what is waited for


class Machine:
    """A host: what runs there sees nothing of another.

    Attributes
    ----------
    name : str
        Its host name, as Python's programs there see it.
    work : Path
        The folder that workers run in.
    venv : Venv
        Its interpreter.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.folder = name, folder / name
        self.work, self.home, self.temp = self.folder / "work", self.folder / "home", self.folder / "tmp"
        for path in (self.work, self.home, self.temp):
            path.mkdir(parents=True)
        self.venv = Venv(self.folder / "venv", "distributed", "ipyparallel", "cryptography")
        # A name that no name server is asked for.
        here = "socket.gethostbyname_ex = lambda _: "
        named = f"import socket; socket.gethostname = lambda: {name!r}; {here}({name!r}, [], ['127.0.0.1'])\n"
        (self.venv.site_packages / "name.pth").write_text(named)
        self.log = self.folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def environment(self, **more: str) -> dict[str, str]:
        """Return what its processes start with: nothing of the tests' own settings or secrets."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COLAB_MAGICS_")}
        return {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.temp),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "IPYTHONDIR": str(self.home / ".ipython"),
            "PYTHONWARNINGS": "ignore",
            **more,
        }

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a Python module there, whose output goes to its log."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [str(self.venv.python), "-m", *arguments],
                cwd=self.work,
                env=self.environment(**more),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End all that was started there."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(look: Callable[[], Any], what: str = "it") -> Any:
    """Return what `look` returns once that is something."""
    ends = time.monotonic() + _PATIENCE
    while not (found := look()):
        if time.monotonic() > ends:
            raise AssertionError(f"{what} did not come")
        time.sleep(0.05)
    return found


class Dask:
    """A scheduler, and hosts with workers below nannies."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.machines = folder, dict[str, Machine]()
        self.place = folder / "scheduler.json"
        self.scheduler = Machine(folder, "scheduler")
        self.scheduler.start(
            "distributed.cli.dask_scheduler",
            *("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"),
            *("--scheduler-file", str(self.place)),
        )

    @property
    def address(self) -> str:
        until(self.place.exists, "the scheduler")
        return str(until(lambda: _read(self.place), "the scheduler's address")["address"])

    def join(self, name: str, workers: int = 2, **more: str) -> Machine:
        """Start workers on a host."""
        machine = self.machines.get(name) or Machine(self.folder, name)
        self.machines[name] = machine
        machine.start(
            "distributed.cli.dask_worker",
            self.address,
            *("--nworkers", str(workers), "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"),
            *("--local-directory", str(machine.temp / "dask")),
            **more,
        )
        return machine

    def stop(self) -> None:
        for machine in (*self.machines.values(), self.scheduler):
            machine.stop()


def holds(pid: int, secret: str) -> bool:
    """Tell whether a process has a text in its memory (proc(5), ``maps`` and ``mem``)."""
    sought = secret.encode()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            place, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in place.split("-"))
            try:
                memory.seek(start)
                if sought in memory.read(end - start):
                    return True
            except (OSError, OverflowError, ValueError):  # of the system's own
                continue
    return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        return None
    return found


class Ipyparallel:
    """A controller, and hosts with engines."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.machines = folder, dict[str, Machine]()
        self.places = folder / "profile" / "security"
        self.file = self.places / "ipcontroller-client.json"
        self.controller = Machine(folder, "controller")

    def start(self, *options: str) -> None:
        """Start the controller."""
        given = ("--ip=127.0.0.1", "--location=127.0.0.1", "--profile-dir", str(self.folder / "profile"), *options)
        self.controller.start("ipyparallel.controller", *given)
        until(lambda: self.file.exists() and _read(self.file), "the controller")

    def join(self, name: str, engines: int = 2, **more: str) -> Machine:
        """Start engines on a host."""
        machine = self.machines.get(name) or Machine(self.folder, name)
        self.machines[name] = machine
        for _ in range(engines):
            machine.start("ipyparallel.engine", "--file", str(self.places / "ipcontroller-engine.json"), **more)
        return machine

    def stop(self) -> None:
        for machine in (*self.machines.values(), self.controller):
            machine.stop()


@contextmanager
def dates_read() -> Iterator[None]:
    """Take back what ipyparallel does to its whole process: no session reads the dates of messages, as others need."""
    before = session.extract_dates
    try:
        yield
    finally:
        session.extract_dates = before


@contextmanager
def ipyparallel_cluster(folder: Path, *options: str) -> Iterator[Ipyparallel]:
    cluster = Ipyparallel(folder)
    with dates_read():
        try:
            cluster.start(*options)
            yield cluster
        finally:
            cluster.stop()


@contextmanager
def dask_cluster(folder: Path) -> Iterator[Dask]:
    cluster = Dask(folder)
    try:
        yield cluster
    finally:
        cluster.stop()
