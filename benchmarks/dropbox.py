"""What crosses the wire to and from Dropbox, and how long it takes, over a link of a given rate and delay.

Usage: ``python benchmarks/dropbox.py [upload] [changed] [--rate MB/s] [--delay SECONDS] [--scale 1]``

The sandbox stands in for Dropbox, in a process of its own, behind `benchmarks/link.py`.
"""

from __future__ import annotations

import argparse
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

SERVE = """
import sys
from colab_magics import sandbox
box = sandbox.start(activate=False)
box.log_in()
www, content = [server.port for server in box._servers][:2]
print(www, content, box.token_file, box.root / "dropbox", flush=True)
print(box.folder_link("project"), flush=True)
for line in sys.stdin:
    box._dropbox.content_address = line.strip()
    print("ok", flush=True)
"""


@contextmanager
def served(rate: float, delay: float, each: float = 0) -> Iterator[tuple[Path, str]]:
    """Serve a sandbox behind a link, with the environment pointing there; yield its folder and a share link."""
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
                process.stdin.write(f"http://localhost:{near_content}\n")
                process.stdin.flush()
                process.stdout.readline()
                os.environ |= {
                    "COLAB_MAGICS_DROPBOX_URL": f"http://127.0.0.1:{near}",
                    "COLAB_MAGICS_TOKEN_FILE": token_file,
                    "NO_PROXY": "127.0.0.1,localhost",
                }
                yield Path(folder), link
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
        print(f"upload of {copy.size / 1e6:.0f} MB: {took:.2f} s, {took / floor:.3f}x of the link's {floor:.2f} s")


BENCHES: dict[str, Any] = {"upload": upload}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benches", nargs="*", default=list(BENCHES))
    parser.add_argument("--rate", type=float, default=25, help="MB/s")
    parser.add_argument("--delay", type=float, default=0.04, help="seconds, there and back")
    parser.add_argument("--scale", type=float, default=1)
    asked = parser.parse_args()
    for name in asked.benches:
        BENCHES[name](asked.rate, asked.delay, asked.scale)
