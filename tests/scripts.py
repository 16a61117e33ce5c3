"""Exported scripts at work: in a folder of their own, with few programs, and watched."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ends import ONE_VARIANT

from colab_magics.core.blocks.export.script import export

__all__ = ["SHELLS", "Done", "play", "programs", "recording", "tree", "watched"]

SHELLS = ("dash",) if ONE_VARIANT else ("dash", "bash")
# What POSIX names, and mktemp, readlink and gzip, which every system has.
_TOOLS = (
    "awk basename cat chmod cksum cmp comm cp cut dd dirname false find grep gzip head kill ln ls mkdir mktemp mv od "
    "readlink rm rmdir sed sh sha256sum sleep sort stat tail tar touch tr true uname wc xargs"
)


@dataclass
class Done:
    """A script that has ended: its status, and all that it printed."""

    status: int
    output: str

    @property
    def last(self) -> str:
        return self.output.splitlines()[-1]


def programs(folder: Path, *names: str) -> str:
    """Return a PATH with the tools that every system has and these programs, and nothing else."""
    folder.mkdir(parents=True)
    for name in [*_TOOLS.split(), *names]:
        found = sys.executable if name == "python3" else shutil.which(name)
        if found:
            (folder / name).symlink_to(os.path.realpath(found))
    return str(folder)


def play(
    text: str, folder: Path, /, *, shell: str = "dash", again: bool = False, clean: bool = True, **environ: str
) -> Done:
    """Export a block and run the script in `folder`, where it must leave no work of its own behind."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder.parent / f"{folder.name} script.sh"
    if not again:
        script.write_text(export(text))
    found = shutil.which(shell)
    assert found, f"no {shell} here"
    done = subprocess.run(
        [found, str(script)],
        cwd=folder,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    left = [
        path.name for path in folder.rglob("*") if "colab_magics-work" in path.name or ".colab_magics/work" in str(path)
    ]
    assert not (clean and left), left
    return Done(done.returncode, done.stdout)


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return what is in a folder, but for what syncs remember there: kinds, contents, who may run it, times."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        status = path.lstat()
        if ".colab_magics/" in f"{name}/" and ".colab_magics/backup/" not in name:
            continue
        if path.is_symlink():
            found[name] = ("link", os.path.relpath(os.path.realpath(path), os.path.realpath(folder)))
        elif path.is_dir():
            found[name] = ("folder",)
        else:
            found[name] = ("file", path.read_bytes(), stat.S_IMODE(status.st_mode), int(status.st_mtime))
    return found


@contextlib.contextmanager
def watched(*secrets: str, script: str) -> Iterator[list[str]]:
    """Look at the arguments and the environment of every process that begins; yield what gave a secret away.

    The shell that runs `script` was given its environment by its user, and so were its own forks until they become
    another program: those are left out. So is what another worker started, whose test may have the same secret.
    """
    leaks: list[str] = []
    over = threading.Event()
    others = {name for name in os.listdir("/proc") if name.isdigit()}
    worker = "PYTEST_XDIST_WORKER="
    ours = f"{worker}{os.environ.get(worker[:-1])}\0"

    def look() -> None:
        while not over.wait(0.002):  # at this pace it leaves the processor to those whom it watches
            for name in os.listdir("/proc"):
                if not name.isdigit() or name in others:
                    continue
                with contextlib.suppress(OSError):
                    # The arguments first: what a fork was given changes when it becomes another program.
                    arguments = Path("/proc", name, "cmdline").read_text(errors="replace")
                    environment = Path("/proc", name, "environ").read_text(errors="replace")
                    if worker in environment and ours not in environment:
                        continue
                    leaks.extend(f"arguments: {arguments}" for secret in secrets if secret in arguments)
                    if script not in arguments and arguments:
                        leaks.extend(f"environment of {arguments}" for secret in secrets if secret in environment)

    if not secrets:
        over.set()
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield leaks
    finally:
        over.set()
        thread.join()


def recording(folder: Path, path: str, log: Path, names: Sequence[str]) -> str:
    """Return a PATH on which these programs first write down their arguments and environment."""
    folder.mkdir()
    cat = shutil.which("cat")
    for name in names:
        real = shutil.which(name, path=path)
        if real:
            script = folder / name
            script.write_text(f'#!/bin/sh\n{cat} /proc/$$/cmdline /proc/$$/environ >>{log}\nexec {real} "$@"\n')
            script.chmod(0o755)
    return f"{folder}:{path}"
