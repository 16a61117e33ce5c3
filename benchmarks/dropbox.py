"""What crosses the wire to and from Dropbox, and how long it takes, over a link of a given rate and delay.

Usage: ``python benchmarks/dropbox.py [upload] [changed] [killed] [large] [--rate MB/s] [--delay SECONDS] [--scale 1]``

The sandbox stands in for Dropbox, in a process of its own, behind `benchmarks/link.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]


import link as wire  # noqa: E402 - the line above makes it importable
import requests  # noqa: E402 - as above

SERVE = """
import sys
from colab_magics import sandbox
box = sandbox.start(activate=False)
box.log_in()
www, content = [server.port for server in box._servers][:2]
print(www, content, box.token_file, box.root / "dropbox", flush=True)
print(box.folder_link("project"), flush=True)
for line in sys.stdin:
    if line.startswith("http"):
        box._dropbox.content_address = line.strip()
    if line.startswith("link "):
        print(box.file_link(box.root / "dropbox" / line[5:].strip()), flush=True)
        continue
    print(sum(request.bytes_sent for request in box.requests), flush=True)
    box.clear_requests()
"""


class Served:
    """A sandbox behind a link."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, share: str) -> None:
        self.process, self.folder, self.share = process, folder, share

    def tell(self, line: str) -> str:
        """Say a line to it; return what it answers."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def sent(self) -> int:
        """Return the bytes of its answers since it was asked last."""
        return int(self.tell(""))


@contextmanager
def served(rate: float, delay: float, each: float = 0) -> Iterator[Served]:
    """Serve a sandbox behind a link, with the environment pointing there."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            www, content, token_file, folder = process.stdout.readline().split()
            link = process.stdout.readline().strip()
            with wire.link([int(www), int(content)], rate=rate, each=each, delay=delay) as (near, near_content):
                box = Served(process, Path(folder), link)
                box.tell(f"http://localhost:{near_content}")
                os.environ |= {
                    "COLAB_MAGICS_DROPBOX_URL": f"http://127.0.0.1:{near}",
                    "COLAB_MAGICS_TOKEN_FILE": token_file,
                    "NO_PROXY": "127.0.0.1,localhost",
                }
                yield box
        finally:
            process.kill()


def upload(rate: float, delay: float, scale: float) -> None:
    """Send 500 MB as a keeper does."""
    from colab_magics.core import Settings
    from colab_magics.core.keeping.destinations import Held, open_destination
    from colab_magics.core.keeping.dropbox import secrets_for

    with served(rate, delay), tempfile.NamedTemporaryFile() as made:
        size = round(500e6 * scale)
        for _ in range(0, size, 1_000_000):
            made.write(random.randbytes(1_000_000))
        made.flush()
        dest = open_destination("dropbox:/kept", "key", secrets_for(Settings.load()))
        dest.copies()
        with open(made.name, "rb", buffering=0) as file:
            began = time.monotonic()
            copy = dest.put("checkpoint.pt", Held(made.name, file, os.fstat(file.fileno())), None)
            took = time.monotonic() - began
        floor = copy.size / rate / 1e6
        peer = curl(made.name)
        print(
            f"upload of {copy.size / 1e6:.0f} MB: {took:.2f} s, {took / floor:.3f}x of the link's {floor:.2f} s, "
            f"{took / peer:.3f}x of curl's {peer:.2f} s"
        )


def curl(path: str) -> float:
    """Return the seconds that curl takes to send as many bytes, in requests of 100 MB, over the same link."""
    from colab_magics.core import Settings
    from colab_magics.core.dropbox import credentials

    settings = Settings.load()
    login = credentials.login_of(settings)
    form = {"grant_type": "refresh_token", "refresh_token": login.refresh_token.reveal(), "client_id": login.app_key}
    token = requests.post(f"{settings.dropbox_url}/oauth2/token", data=form, timeout=60).json()["access_token"]
    command = ["curl", "-sS", "-o", "/dev/null", "-X", "POST", "--data-binary", "@-", "-H", "Dropbox-API-Arg: {}"]
    command += ["-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/octet-stream", "-H", "Expect:"]
    took = 0.0
    with open(path, "rb") as file:
        while piece := file.read(100_000_000):
            began = time.monotonic()
            subprocess.run([*command, f"{settings.dropbox_url}/2/files/upload_session/start"], input=piece, check=True)
            took += time.monotonic() - began
    return took


def write(folder: Path, numbers: range, seed: int) -> None:
    """Write files of 200 kB."""
    chance = random.Random(seed)
    for number in numbers:
        path = folder / f"d{number // 100}" / f"file{number:04}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(chance.randbytes(200_000))


def changed(rate: float, delay: float, scale: float) -> None:
    """Sync 1,000 files, 200 MB: all of them, none, and one that changed, as a zip and file by file.

    Each as a command of its own, and in this process, which has done it before, as a notebook's has.
    """
    from colab_magics.core import sync

    count, taken = round(1000 * scale), {}
    with served(rate, delay) as box, tempfile.TemporaryDirectory() as work:
        project = box.folder / "project"
        write(project, range(count), 1)
        whats, ways = ("fresh", "nothing changed", "one changed"), ("zip", "api", "own", "auto")
        for what, via, warm in itertools.product(whats, ways, (False, True)):
            if what == "one changed":
                write(project, range(7, 8), len(taken) + 2)
            link, how = ("dropbox:/project", "auto") if via == "own" else (box.share, via)
            command = [sys.executable, "-m", "colab_magics", "sync", link, f"{work}/{via}", f"--via={how}"]
            box.sent()
            began = time.monotonic()
            if warm:
                sync(link, f"{work}/{via}-warm", via=how)
            else:
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
            taken[what, via, warm] = seconds, sent = time.monotonic() - began, box.sent()
            zip_seconds, zip_sent = taken[what, "zip", False]
            ours = f"{seconds:6.2f} s {seconds / zip_seconds:6.3f}x {sent / 1e6:7.2f} MB {sent / zip_sent:7.4f}x"
            print(f"{what:16} {via:5} {'in a process' if warm else 'as a command'} {ours}", flush=True)


def killed(rate: float, delay: float, scale: float) -> None:
    """Kill a sync when 70 % have come, and sync again."""
    with served(rate, delay) as box, tempfile.TemporaryDirectory() as work:
        write(box.folder / "project", range(round(200 * scale)), 1)
        big = box.folder / "project" / "big.bin"
        big.write_bytes(random.Random(2).randbytes(round(60e6 * scale)))
        whole = sum(path.stat().st_size for path in box.folder.rglob("*") if path.is_file())
        command = [sys.executable, "-m", "colab_magics", "sync", "dropbox:/project", f"{work}/dest"]
        box.sent()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
            came = 0
            while came < 0.7 * whole and process.poll() is None:
                time.sleep(0.05)
                came = sum(there(path) for path in Path(work).glob(".dest.colab_magics/fetched/*"))
            process.kill()
        came = sum(there(path) for path in Path(work).glob(".dest.colab_magics/fetched/*"))
        told = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout
        got = json.loads(told)["bytes_received"]
        print(f"killed after {came / whole:.1%} of {whole / 1e6:.0f} MB: the next run fetched {got / whole:.1%}")


def there(path: Path) -> int:
    """Return the bytes of a fetched file that are on the disk, since a large one has holes."""
    with contextlib.suppress(FileNotFoundError):
        return min(path.stat().st_size, path.stat().st_blocks * 512)
    return 0


def large(rate: float, delay: float, scale: float) -> None:
    """Fetch one file of 500 MB over connections of 5 MB/s each, as a link and from the own Dropbox; and with aria2."""
    size = round(500e6 * scale)
    for whole in (rate, 200.0):
        with served(whole, delay, each=5) as box, tempfile.TemporaryDirectory() as work:
            with (box.folder / "project" / "big.bin").open("wb") as file:
                for _ in range(0, size, 1_000_000):
                    file.write(random.randbytes(1_000_000))
            address = box.tell("link project/big.bin")
            near = address.replace("https://www.dropbox.com", os.environ["COLAB_MAGICS_DROPBOX_URL"])
            ours = [sys.executable, "-m", "colab_magics", "sync"]
            peer = ["aria2c", "-q", "-x8", "--file-allocation=none", "-d", work]
            commands = {
                "aria2c -x8": [*peer, "-o", "five", near.replace("dl=0", "dl=1")],
                "aria2c -x8 -s8": [*peer, "-s8", "-k1M", "-o", "eight", near.replace("dl=0", "dl=1")],
                "a link": [*ours, address, f"{work}/link.bin"],
                "the own Dropbox": [*ours, "dropbox:/project/big.bin", f"{work}/own.bin"],
            }
            took: dict[str, float] = {}
            for what, command in commands.items():
                began = time.monotonic()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
                took[what] = time.monotonic() - began
                ratios = [took[what] / took[other] for other in list(commands)[:2] if other in took]
                print(
                    f"{whole:3.0f} MB/s {what:16} {took[what]:6.2f} s",
                    *(f"{ratio:.3f}x" for ratio in ratios),
                    flush=True,
                )


BENCHES: dict[str, Any] = {"upload": upload, "changed": changed, "killed": killed, "large": large}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benches", nargs="*", default=list(BENCHES))
    parser.add_argument("--rate", type=float, default=25, help="MB/s")
    parser.add_argument("--delay", type=float, default=0.04, help="seconds, there and back")
    parser.add_argument("--scale", type=float, default=1)
    asked = parser.parse_args()
    for name in asked.benches:
        BENCHES[name](asked.rate, asked.delay, asked.scale)
