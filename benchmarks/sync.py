"""How fast a sync is beside the programs that people use for the same work.

Usage: ``python benchmarks/sync.py [A B C D E] [--runs 5] [--rate MB/s] [--ext4] [--before CHECKOUT] [...]``

It makes its own workloads, always the same ones, and serves them from a process of its own as Dropbox serves a
folder: chunked, with no length. Peers are wget and unzip, and curl piped to bsdtar; what of them is missing is
installed with apt. Contenders take turns, each run in a fresh folder; reported are medians, their ratios, and the
floor: the greater of downloading to nowhere and writing the same files from a tar. Ours includes time stamps and
the manifest; A runs in an interpreter that is up already, as a notebook's is, the others as whole processes.

With ``--ext4`` each run writes to an ext4 file system that was made for it (in a file below ``--work``, mounted as a
loop device: needs root), since a disk that many runs have written to makes the later ones slower. With ``--before`` an
earlier checkout of this project is one of the contenders.
"""

from __future__ import annotations

import argparse
import compileall
import os
import random
import shutil
import socketserver
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from colab_magics.sandbox.zipformat import folder_zip  # noqa: E402 - the line above makes it importable

CHUNK = 1 << 18
KEY = "benchmarkbenchmarkbenchm"
OURS = "from colab_magics.core import sync; import sys; sync(sys.argv[1], sys.argv[2], **eval(sys.argv[3]))"


def make(kind: str, tree: Path, scale: float) -> None:
    """Write a workload's files; the same ones whenever it is called."""
    chance = random.Random(f"colab-magics {kind}")
    counts = {"A": 800, "B": 20_000, "C": 2, "D": 40, "E": 100_000}
    count = counts[kind] if kind == "C" else max(2, round(counts[kind] * scale))
    words = [chance.randbytes(4).hex() for _ in range(2000)]
    for number in range(count):
        path = tree / f"d{number // 200:04}" / f"file{number:06}.{'csv' if kind == 'D' else 'bin'}"
        if number % 200 == 0:
            path.parent.mkdir(parents=True)
        if kind == "A":
            path.write_text(" ".join(chance.choices(words, k=1100)))
        elif kind == "B":
            path.write_bytes(chance.randbytes(chance.randint(20_000, 60_000)))
        elif kind == "C":
            with path.open("wb") as file:
                for _ in range(max(1, round(500 * scale))):
                    file.write(chance.randbytes(1_000_000))
        elif kind == "D":
            with path.open("w") as file:
                size = 0
                while size < 25_000_000:
                    size += file.write(
                        "".join(f"{chance.random():.4f},{chance.randint(0, 999)},abc\n" for _ in range(9999))
                    )
        else:
            path.write_bytes(chance.randbytes(chance.randint(200, 2000)))


class Handler(BaseHTTPRequestHandler):
    """Serves the zips of a folder, a share link leading to a temporary address as at Dropbox."""

    protocol_version = "HTTP/1.1"
    folder = Path()
    rate = 0.0

    def do_GET(self) -> None:
        """Answer."""
        name = self.path.partition("?")[0].split("/")[-2 if "/scl/" in self.path else -1]
        if "/scl/" in self.path:
            self.send_response(302)
            self.send_header("Location", f"/zip_download_get/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Disposition", f'attachment; filename="{name}"')
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        began, sent = time.monotonic(), 0
        head, end = f"{CHUNK:x}\r\n".encode(), b"\r\n"
        with (self.folder / name).open("rb") as file:
            while block := file.read(CHUNK):
                if len(block) != CHUNK:
                    head = f"{len(block):x}\r\n".encode()
                self.connection.sendall(b"".join((head, block, end)))
                sent += len(block)
                if self.rate and (ahead := sent / self.rate - (time.monotonic() - began)) > 0:
                    time.sleep(ahead)
        self.connection.sendall(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread a connection."""

    daemon_threads = True


def serve(folder: str, rate: str) -> None:
    """Serve until killed; the first line of the output is the port."""
    Handler.folder, Handler.rate = Path(folder), float(rate) * 1e6
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


class Bench:
    """The contenders on one workload."""

    def __init__(self, work: Path, port: int, name: str, *, in_process: bool, ext4: bool, before: Path | None) -> None:
        self.work, self.name, self.in_process, self.ext4, self.checkout = work, name, in_process, ext4, before
        self.base = f"http://127.0.0.1:{port}"
        self.link = f"https://www.dropbox.com/scl/fo/{name}/h?rlkey={KEY}&dl=0"
        self.url = f"{self.base}/zip_download_get/{name}"
        os.environ |= {"COLAB_MAGICS_DROPBOX_URL": self.base, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}

    def ours(self, out: Path, **options: object) -> None:
        """Sync with us."""
        if self.in_process:
            from colab_magics.core import sync

            sync(self.link, out / "data", **options)
        else:
            run([sys.executable, "-c", OURS, self.link, str(out / "data"), repr(options)])

    def before(self, out: Path) -> None:
        """Sync with the earlier checkout."""
        env = {**os.environ, "PYTHONPATH": str(self.checkout)}
        run([sys.executable, "-c", OURS, self.link, str(out / "data"), "{}"], env=env)

    def recipe(self, out: Path) -> None:
        """Sync with wget and unzip."""
        run(["wget", "-q", "-O", str(out / "data.zip"), self.url])
        run(["unzip", "-q", "-o", str(out / "data.zip"), "-x", "/", "-d", str(out / "data")])

    def piped(self, out: Path) -> None:
        """Sync with curl and bsdtar."""
        (out / "data").mkdir()
        run(["sh", "-c", f"curl -s '{self.url}' | bsdtar -x -C '{out / 'data'}' -f - 2>/dev/null"], {0, 1})

    def nowhere(self, _: Path) -> None:
        """Download only."""
        run(["curl", "-s", "-o", "/dev/null", self.url])

    def written(self, out: Path) -> None:
        """Write only."""
        run(["tar", "-x", "-C", str(out), "-f", str(self.work / f"{self.name}.tar")])

    def rounds(self, contenders: dict[str, Callable[[Path], None]], runs: int) -> dict[str, float]:
        """Run each in turn, `runs` times; return the medians in seconds."""
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(runs):
            for name, contender in contenders.items():
                with self.fresh() as out:
                    os.sync()
                    began = time.perf_counter()
                    contender(out)
                    times[name].append(time.perf_counter() - began)
        return {name: statistics.median(values) for name, values in times.items()}

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """Yield an empty folder, with ``--ext4`` on a file system of its own."""
        out = Path(tempfile.mkdtemp(prefix="out-", dir=self.work))
        image = out.with_suffix(".ext4")
        try:
            if self.ext4:
                with image.open("wb") as file:
                    file.truncate(6 << 30)
                # Nothing is left to be initialised while a run is timed.
                run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-N", "262144", str(image)])
                run(["mount", "-o", "loop", str(image), str(out)])
            yield out
        finally:
            if self.ext4:
                subprocess.run(["umount", str(out)], check=False)
                image.unlink(missing_ok=True)
            shutil.rmtree(out)

    def footprint(self) -> None:
        """Print what a first sync of ours takes of the disk, beyond the files, and of memory."""
        out = Path(tempfile.mkdtemp(prefix="footprint-", dir=self.work))
        before = used(out)
        process = subprocess.Popen([sys.executable, "-c", OURS, self.link, str(out / "data"), "{}"], cwd="/")
        most, memory = before, 0
        while process.poll() is None:
            most, memory = max(most, used(out)), max(memory, peak(process.pid))
            time.sleep(0.002)
        after = used(out)
        shutil.rmtree(out)
        print(
            f"   disk: {(most - after) / 1e6:.0f} MB at most beyond the {(after - before) / 1e6:.0f} MB that stay; "
            f"memory: {memory / 1e3:.0f} MB in the largest process"
        )

    def again(self, runs: int) -> None:
        """Time what there is to do when nothing has changed, against unzip's own way."""
        out = Path(tempfile.mkdtemp(prefix="again-", dir=self.work))
        self.ours(out)
        run(["wget", "-q", "-O", str(out / "data.zip"), self.url])
        peer = out / "peer"
        run(["unzip", "-q", "-o", str(out / "data.zip"), "-x", "/", "-d", str(peer)])
        from colab_magics.core import sync

        once, never, update, over = [], [], [], []
        for _ in range(runs):
            once.append(timed(lambda: sync(self.link, out / "data", once=True)))
            never.append(timed(lambda: run(["unzip", "-q", "-n", str(out / "data.zip"), "-x", "/", "-d", str(peer)])))
            update.append(timed(lambda: sync(self.link, out / "data")))
            over.append(timed(lambda: run(["unzip", "-q", "-o", str(out / "data.zip"), "-x", "/", "-d", str(peer)])))
        shutil.rmtree(out)
        done, skip, same, anew = map(statistics.median, (once, never, update, over))
        print(f"   nothing to do: --once {done:.3f} s, unzip -n {skip:.3f} s: {done / skip:.2f}")
        print(f"   nothing changed: update {same:.3f} s, unzip -o {anew:.3f} s: {same / anew:.2f}")


def used(folder: Path) -> int:
    """Return how many bytes are in use on a folder's disk."""
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def peak(process: int) -> int:
    """Return the most memory that a process or one of its children has taken so far, in kB."""
    most = 0
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        for one in (process, *children):
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
            most = max(most, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    except (OSError, ValueError):  # it has just ended
        pass
    return most


def timed(what: Callable[[], object]) -> float:
    """Return how long a call takes, in seconds."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def run(command: list[str], allowed: set[int] | None = None, env: dict[str, str] | None = None) -> None:
    """Run a program; a status that is not allowed ends the benchmark."""
    # From elsewhere: what lies in the working folder would be imported before what PYTHONPATH names.
    done = subprocess.run(command, check=False, env=env, cwd="/")
    if done.returncode not in (allowed or {0}):
        sys.exit(f"{command[0]} ended with {done.returncode}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list("ABCDE"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of files")
    parser.add_argument("--rate", type=float, default=0.0, help="MB/s that the server sends; 0: as fast as it can")
    parser.add_argument(
        "--work", type=lambda text: Path(text).resolve(), help="keeps the workloads there for the next time"
    )
    parser.add_argument("--formats", nargs="*", default=["deflate", "stored"])
    parser.add_argument("--again", action="store_true", help="also what a second run costs")
    parser.add_argument("--ext4", action="store_true", help="write each run to a fresh ext4 file system (needs root)")
    parser.add_argument(
        "--before",
        metavar="CHECKOUT",
        type=lambda text: Path(text).resolve(),
        help="an earlier checkout, as a further contender",
    )
    args = parser.parse_args()
    missing = {"wget": "wget", "unzip": "unzip", "bsdtar": "libarchive-tools", "curl": "curl"}
    packages = [package for program, package in missing.items() if shutil.which(program) is None]
    if packages:
        run(["apt-get", "install", "-y", "-q", *packages])
    # As `pip install` does; where an environment forbids it at run time, every start would compile anew.
    compileall.compile_dir(ROOT / "colab_magics", quiet=2)
    work = args.work or Path(tempfile.mkdtemp(prefix="bench-"))
    zips = work / "zips"
    zips.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(zips), str(args.rate)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        where = "a fresh ext4 file system a run" if args.ext4 else f"{work}"
        link = f"{args.rate:g} MB/s" if args.rate else "as fast as the server can"
        print(f"written to {where}; link: {link}; {os.cpu_count()} cores; medians of {args.runs} runs")
        heads = "".join(
            f"{f'ours/{peer}':>13}" for peer in ("recipe", "bsdtar", "floor", *["before"] * bool(args.before))
        )
        print(f"{'':14}{'ours':>8}{'recipe':>9}{'bsdtar':>9}{'floor':>8}{'tar -x':>8}{heads}")
        for kind in args.workloads:
            tree = work / f"tree-{kind}-{args.scale}"
            if not tree.exists():
                make(kind, tree, args.scale)
            for form in ["deflate"] if kind == "D" else args.formats:
                name = f"{kind}-{form}-{args.scale}"
                if not (zips / name).exists():
                    with (zips / name).open("wb") as file:
                        for piece in folder_zip(tree, method=form):  # type: ignore[arg-type]
                            file.write(piece)
                if not (work / f"{name}.tar").exists():
                    run(["tar", "-c", "-C", str(tree), "-f", str(work / f"{name}.tar"), "."])
                in_process = kind == "A" and not args.before
                bench = Bench(work, port, name, in_process=in_process, ext4=args.ext4, before=args.before)
                contenders = {
                    "ours": bench.ours,
                    "recipe": bench.recipe,
                    "bsdtar": bench.piped,
                    "null": bench.nowhere,
                    "tar": bench.written,
                }
                if args.before:
                    contenders["before"] = bench.before
                if in_process:
                    bench.rounds({"ours": bench.ours}, 1)
                found = bench.rounds(contenders, args.runs)
                floor = max(found["null"], found["tar"])
                ours = found["ours"]
                peers = [found["recipe"], found["bsdtar"], floor, *([found["before"]] if args.before else [])]
                seconds = [ours, found["recipe"], found["bsdtar"], floor, found["tar"]]
                print(
                    "{} {:12}{:8.3f}{:9.3f}{:9.3f}{:8.3f}{:8.3f}".format(kind, form, *seconds)
                    + "".join(f"{ours / peer:13.2f}" for peer in peers),
                    flush=True,
                )
                bench.footprint()
                if args.again:
                    bench.in_process = False
                    bench.again(args.runs)
    finally:
        server.kill()
        server.wait()
        if args.work is None:
            shutil.rmtree(work)


if __name__ == "__main__":
    serve(*sys.argv[2:]) if sys.argv[1:2] == ["--serve"] else main()
