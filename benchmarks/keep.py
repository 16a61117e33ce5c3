"""Keeping a folder: what survives random SIGKILLs, what an idle keeper costs, and how fast a large file is pushed.

    python benchmarks/keep.py kills --kills 1000 --folder /dev/shm   # keep, against two common ways, as a table
    python benchmarks/keep.py idle speed dropbox --folder /tmp

`kills`: a writer makes and rewrites files, 1 kB to 200 MB: checkpoints written in place (a zip, as torch.save makes),
others written beside and renamed, logs that grow. A kernel keeps its folder. Again and again one of kernel, keeper and
writer is killed, and started again. All the while everything at DEST is read: a file is *torn* when it is not a whole
version of what was written.

Of every version that stands whole and unchanged in SOURCE and not at DEST it is noted how long that has been so:
*late*, by the clock on the wall. What is killed all the time cannot be on time by that clock, so *lost* goes by its
own: a version is lost when it is not at DEST although processes that copy have lived for an interval and `ALLOWED`
seconds since it was written (in sum, over all kills; what a kill ended counts), or when it is not there at the end,
when nothing has been killed for as long.

The others are huggingface_hub's CommitScheduler itself (to be installed), its Hub replaced by a folder (it runs in
the kernel; a commit takes its place as one, and is refused when a content is not what its hash said, which is in its
favour), and `cp -ru` every interval, as from cron. At each of them as many kills are made, with as much time between
two: on kernel and writer, or on cron with its `cp` and writer.

Long runs can be had in parts: each `--rows FILE` adds its rows to FILE, and `table` prints the sum.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

EVERY = 2.0  # seconds
ALLOWED = 10.0  # seconds for two looks and a transfer of all that waits, on a machine that others use too

WRITER = """
import io, os, random, sys, time, zipfile, hashlib
folder, seed, largest = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
dice = random.Random(seed)
block = dice.randbytes(1 << 16)
def body(size):  # other bytes each time
    start = dice.randbytes(1024)
    return start + block * (max(0, size - 1024) // len(block)) + block[: max(0, size - 1024) % len(block)]
def size():
    return int(1000 * (largest / 1000) ** dice.random())
def in_place(path, data):
    with open(path, "wb") as file:
        for at in range(0, len(data), 1 << 18):
            file.write(data[at : at + (1 << 18)])
            if dice.random() < 0.02:
                time.sleep(0.3)
while True:
    kind, number = dice.choice(["ckpt", "ckpt", "best", "part", "log", "log", "log"]), dice.randrange(6)
    if kind == "log":
        with open(f"{folder}/train-{number}.log", "a") as file:
            for _ in range(dice.randrange(1, 20)):
                file.write(f"step {time.time_ns()} loss {dice.random()}\\n")
    elif kind == "part":
        data = body(size())
        with open(f"{folder}/.part.tmp", "wb") as file:
            file.write(hashlib.sha256(data).hexdigest().encode() + data)
        os.replace(f"{folder}/.part.tmp", f"{folder}/part-{number}.bin")
    else:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr(f"version-{time.time_ns()}", body(size()))
        in_place(f"{folder}/{kind}-{number}.pt" if kind == "ckpt" else f"{folder}/best.pt", made.getvalue())
    time.sleep(dice.random() * 1.5)
"""

KEEP = """
import sys, time
from colab_magics import core
core.keep(sys.argv[1], sys.argv[2], every=float(sys.argv[3]), exclude=["*.tmp"])
time.sleep(1e6)
"""

SCHEDULER = """
import hashlib, os, shutil, sys, time
from huggingface_hub import CommitScheduler, HfApi
source, dest, every = sys.argv[1], sys.argv[2], float(sys.argv[3])
class Hub(HfApi):
    def create_repo(self, repo_id, **_):
        return type("Repo", (), {"repo_id": repo_id})
    def create_commit(self, operations, **_):
        shutil.rmtree(f"{dest}/.commit", ignore_errors=True)
        os.mkdir(f"{dest}/.commit")
        for operation in operations:
            said = operation.upload_info.sha256
            with operation.as_file() as file, open(f"{dest}/.commit/{operation.path_in_repo}", "wb") as copy:
                digest = hashlib.sha256()
                while piece := file.read(1 << 20):
                    digest.update(piece)
                    copy.write(piece)
            if digest.digest() != said:
                raise ValueError("not what was said")
        for operation in operations:
            os.replace(f"{dest}/.commit/{operation.path_in_repo}", f"{dest}/{operation.path_in_repo}")
scheduler = CommitScheduler(
    repo_id="me/kept", folder_path=source, every=every / 60, ignore_patterns="*.tmp", hf_api=Hub()
)
time.sleep(1e6)
"""

CRON = """
import subprocess, sys, time
while True:
    subprocess.run(["cp", "-ru", f"{sys.argv[1]}/.", sys.argv[2]], stderr=subprocess.DEVNULL)
    time.sleep(float(sys.argv[3]))
"""
WAYS = {"keep": KEEP, "CommitScheduler": SCHEDULER, "cp -ru": CRON}
VICTIMS = {"keep": ["kernel", "keeper", "writer"]}  # of the others, what copies is the kernel itself
HEADS = ["way", "kills", "versions read", "torn", "torn at the end", "lost", "late, median", "late, worst"]


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a program that is given as text."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and what it runs (a keeper is not of its group)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def is_whole(path: Path) -> bool:
    """Tell whether a file is a whole version of what the writer wrote."""
    if path.suffix == ".pt":
        try:
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        except (zipfile.BadZipFile, EOFError, FileNotFoundError):
            return False
    data = path.read_bytes()
    if path.suffix == ".bin":
        return hashlib.sha256(data[64:]).hexdigest().encode() == data[:64]
    return data.endswith(b"\n") and all(line.startswith(b"step ") for line in data.splitlines())


class Watch:
    """Looks at DEST, and at how far it is behind SOURCE."""

    def __init__(self, source: Path, dest: Path) -> None:
        self.source, self.dest = source, dest
        self.seen: dict[str, tuple[int, ...]] = {}
        self.torn: set[tuple[object, ...]] = set()
        self.lost: set[tuple[object, ...]] = set()
        self.late: dict[tuple[object, ...], float] = {}  # how late a version is, or was when it came or went
        self.read = 0
        self.lived, self.copier, self.looked = 0.0, 0, time.time()  # how long what copies has lived, and which it is
        self.stood: dict[tuple[object, ...], float] = {}  # how long it had, when a version was seen first

    def live(self, copier: int) -> None:
        """Count the time since the last call for what copies, if it is still the same, and lives."""
        now = time.time()
        if copier and copier == self.copier and is_alive(copier):
            self.lived += now - self.looked
        self.copier, self.looked = copier, now

    def look(self) -> None:
        """Read what is new at DEST, and note what of SOURCE is not there."""
        for entry in os.scandir(self.dest):
            if entry.name.startswith(".") or not entry.is_file():
                continue
            try:
                status = os.stat(entry.path)
                mark = status.st_size, status.st_mtime_ns, status.st_ino
                if self.seen.get(entry.name) == mark:
                    continue
                self.seen[entry.name] = mark
                self.read += 1
                whole = is_whole(Path(entry.path))
                if os.stat(entry.path).st_ino == status.st_ino and not whole:
                    self.torn.add((entry.name, *mark))
            except FileNotFoundError:
                continue
        for entry in os.scandir(self.source):
            if not entry.is_file() or entry.name.endswith(".tmp"):
                continue
            try:
                status, age = os.stat(entry.path), time.time() - os.stat(entry.path).st_mtime
                version = entry.name, status.st_mtime_ns
                since = self.stood.setdefault(version, self.lived)
                if age < EVERY or same(Path(entry.path), self.dest / entry.name):
                    continue
                if is_whole(Path(entry.path)) and os.stat(entry.path).st_mtime_ns == status.st_mtime_ns:
                    self.late[version] = age
                    if self.lived - since > EVERY + ALLOWED:
                        self.lost.add(version)
            except FileNotFoundError:
                continue

    def settle(self, patience: float) -> list[str]:
        """Wait until all that is whole in SOURCE is at DEST; return what is not, read to its last byte."""
        ends = time.monotonic() + patience
        while True:
            missing = [
                path.name
                for path in self.source.iterdir()
                if path.is_file()
                and not path.name.endswith(".tmp")
                and is_whole(path)
                and not ((self.dest / path.name).exists() and path.read_bytes() == (self.dest / path.name).read_bytes())
            ]
            if not missing or time.monotonic() > ends:
                return missing
            time.sleep(1)


def is_alive(number: int) -> bool:
    """Tell whether a process lives."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def same(one: Path, other: Path) -> bool:
    """Tell whether two files are the same version: their beginnings say which that is."""
    if not other.exists() or one.stat().st_size != other.stat().st_size:
        return False
    with open(one, "rb") as first, open(other, "rb") as second:
        return first.read(4096) == second.read(4096)


def keeper_of(home: Path) -> int:
    """Return the number of the keeper's process."""
    for path in home.glob(".local/state/colab_magics/keep/*/progress.json"):
        found = json.loads(path.read_text())
        return 0 if found["ended"] else found["keeper"][0]
    return 0


def kills(way: str, count: int, folder: Path, largest: float, seed: int, gap: float) -> list[object]:
    """Return a row of the table; how late each late version was stands at its end."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        home, source, dest = (Path(made, name) for name in ("home", "source", "dest"))
        for each in (home, source, dest):
            each.mkdir()
        os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": f"{home}/.cache", "XDG_STATE_HOME": f"{home}/.local/state"}
        watch = Watch(source, dest)
        kernel, writer = start(WAYS[way], source, dest, EVERY), start(WRITER, source, seed, largest)
        killed = 0
        try:
            while not watch.read:  # a busy machine takes its time to start both
                watch.look()
                time.sleep(0.05)
            while killed < count:
                ends = time.monotonic() + dice.random() * 2 * gap
                watch.live(keeper_of(home) if way == "keep" else kernel.pid)
                watch.look()
                time.sleep(max(0.0, ends - time.monotonic()))
                watch.live(keeper_of(home) if way == "keep" else kernel.pid)
                victim = dice.choice(VICTIMS.get(way, ["kernel", "writer"]))
                if victim == "keeper":
                    if not (number := keeper_of(home)):
                        continue
                    try:
                        os.kill(number, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                elif victim == "kernel":
                    end(kernel)
                    kernel = start(WAYS[way], source, dest, EVERY)
                else:
                    end(writer)
                    writer = start(WRITER, source, dice.randrange(1 << 30), largest)
                killed += 1
            end(writer)
            missing = watch.settle(EVERY + ALLOWED)
            watch.look()
        finally:
            end(kernel)
            end(writer)
            if number := keeper_of(home):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
        there = [path for path in dest.iterdir() if path.is_file() and path.name[0] != "."]
        torn_at_end = [path for path in there if not is_whole(path)]
        if wrong := [path.name for path in there if "(kept" in path.name] + missing:
            print(f"{way}: taken for another's, or missing:", wrong)
        lost = len(watch.lost | {(name, 0) for name in missing if name not in {each for each, _ in watch.lost}})
        late = [round(age, 1) for age in watch.late.values()]
        return [way, killed, watch.read, len(watch.torn), len(torn_at_end), lost, late]


def table(rows: list[list[Any]]) -> None:
    """Print the sums of rows, a way a line."""
    print("\n".join(["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]))
    for way in dict.fromkeys(row[0] for row in rows):
        ours = [row for row in rows if row[0] == way]
        late = sorted(age for row in ours for age in row[-1]) or [0.0]
        sums = [sum(row[at] for row in ours) for at in range(1, 6)]
        print("| " + " | ".join(map(str, [way, *sums, f"{late[len(late) // 2]:.1f} s", f"{late[-1]:.1f} s"])) + " |")


def cpu_of(number: int) -> float:
    """Return how many seconds of a core a process has used."""
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(folder: Path, seconds: float) -> None:
    """Print the share of a core, and the memory, of a keeper over 10,000 files that do not change."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        home, source, dest = (Path(made, name) for name in ("home", "source", "dest"))
        for number in range(10_000):
            path = source / f"{number % 100:02}" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(number))
        os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": f"{home}/.cache", "XDG_STATE_HOME": f"{home}/.local/state"}
        from colab_magics import core

        began = time.monotonic()
        core.keep(source, dest, every=300)
        status = core.kept(source, now=True)[0]
        took, number = time.monotonic() - began, keeper_of(home)
        before, began = cpu_of(number), time.monotonic()
        time.sleep(seconds)
        share = (cpu_of(number) - before) / (time.monotonic() - began)
        memory = next(line for line in Path(f"/proc/{number}/status").read_text().splitlines() if "VmRSS" in line)
        print(
            f"idle: {len(status.kept)} files (first push {took:.1f} s): {share:.3%} of a core;",
            memory,
        )
        core.kept(source, stop=True)


def speed(folder: Path, rounds: int) -> None:
    """Print how long 1 GB takes, in one file and in several, against `cp` and `sync`: both end with it on the disk."""
    from colab_magics.core.keeping.destinations import Held
    from colab_magics.core.keeping.folder import FolderDestination

    for count in (1, 10, 100):
        with tempfile.TemporaryDirectory(dir=folder) as made:
            source, ours, theirs = Path(made, "source"), [], []
            source.mkdir()
            block = random.Random(1).randbytes(1 << 20)
            for number in range(count):
                with open(source / str(number), "wb") as file:
                    file.writelines(block for _ in range(1000 // count))
            os.sync()
            for number in range(rounds):
                dest = FolderDestination(Path(made, f"ours-{number}"), "k")
                began = time.monotonic()
                for path in source.iterdir():
                    with open(path, "rb", buffering=0) as opened:
                        dest.put(path.name, Held(str(path), opened, os.fstat(opened.fileno())), None)
                ours.append(time.monotonic() - began)
                shutil.rmtree(Path(made, f"ours-{number}"))
                os.sync()
                began = time.monotonic()
                subprocess.run(["cp", "-r", "--reflink=never", source, Path(made, "theirs")], check=True)
                subprocess.run(["sync", *Path(made, "theirs").iterdir(), Path(made, "theirs")], check=True)
                theirs.append(time.monotonic() - began)
                shutil.rmtree(Path(made, "theirs"))
                os.sync()
            one, other = sorted(ours)[rounds // 2], sorted(theirs)[rounds // 2]
            ratio = f"{one / other:.2f}x ({min(ours):.2f} to {max(ours):.2f}, {min(theirs):.2f} to {max(theirs):.2f})"
            print(f"speed: 1 GB in {count} to {folder}: {one:.2f} s, cp and sync {other:.2f} s: {ratio}", flush=True)


def dropbox(rate: float, delay: float, rounds: int) -> None:
    """Print how long a keeper takes to bring files to the sandbox's Dropbox, against the time of the link there."""
    sys.path.insert(0, str(Path(__file__).parent))
    from dropbox import served  # the one beside this file

    from colab_magics.core import Settings
    from colab_magics.core.keeping.dropbox import secrets_for
    from colab_magics.core.keeping.keeper import Keeper
    from colab_magics.core.keeping.state import Config, State, process

    for count, size in ((1, 500_000_000), (500, 200_000), (500, 20_000)):
        took = []
        for number in range(rounds):
            with served(rate, delay), tempfile.TemporaryDirectory() as made:
                os.environ["XDG_STATE_HOME"], source = f"{made}/state", Path(made, "source")
                source.mkdir()
                for each in range(count):
                    (source / f"{each}.bin").write_bytes(os.urandom(size))
                state, dest = State.of(source), f"dropbox:/kept-{number}"
                state.write_config(Config(str(source), dest, dest, watch=[process()]))
                keeper = Keeper(state, secrets_for(Settings.load()))
                keeper.copy_what_held_still()  # the first look
                time.sleep(1.1)
                began = time.monotonic()
                keeper.copy_what_held_still()
                took.append(time.monotonic() - began)
                if len(keeper.journal.records) != count:
                    raise SystemExit(f"not there: {keeper.progress.failed or keeper.progress.pending}")
        floor, ours = count * size / rate / 1e6, sorted(took)[rounds // 2]
        print(
            f"dropbox: {count} of {size / 1e6:g} MB at {rate:g} MB/s, {delay * 1000:g} ms: {ours:.2f} s, "
            f"{ours / floor:.2f}x of the link's {floor:.2f} s ({min(took):.2f} to {max(took):.2f})",
            flush=True,
        )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["kills", "table", "idle", "speed", "dropbox"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--largest", type=float, default=200e6, help="bytes")
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--rows", type=Path, help="the file that rows are added to, and the table is made from")
    parser.add_argument("--gap", type=float, default=1.5, help="seconds between two kills, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=25, help="MB/s of the link to Dropbox")
    parser.add_argument("--delay", type=float, default=0.04, help="seconds of that link, there and back")
    args = parser.parse_args()
    if "kills" in args.what:
        rows = [kills(way, args.kills, args.folder, args.largest, args.seed, args.gap) for way in args.ways]
        if args.rows:
            with args.rows.open("a") as file:
                file.writelines(f"{json.dumps(row)}\n" for row in rows)
        table(rows)
    if "table" in args.what:
        table([json.loads(line) for line in args.rows.read_text().splitlines()])
    if "idle" in args.what:
        idle(args.folder, args.seconds)
    if "dropbox" in args.what:
        dropbox(args.rate, args.delay, args.rounds)
    if "speed" in args.what:
        speed(args.folder, args.rounds)


if __name__ == "__main__":
    main()
