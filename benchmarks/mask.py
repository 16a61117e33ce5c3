"""What the mask costs: printing through a kernel, and starting one.

Usage: ``python benchmarks/mask.py [--mb 100] [--runs 5] [--starts 20] [--texts lines,...] [--secrets 1,50]``

Kernels without the mask, and with it at none, at one and at fifty secrets, or other numbers, run side
by side and take turns, so that a
busy machine slows all of them. The client runs in this process and reads everything, as a notebook would; the clocks
(wall, and the processor time of all its threads) are the kernel's own. A ratio is the median, over the rounds, of what
a kernel took and what the one without the mask took in the same round. Starting is measured from the process's start
to its first answer, with and without ``%load_ext colab_magics``, in pairs that take turns at going first. The
processor's time (user and system, all threads of the kernel) is the clock to trust there: the wall's has the client's
waiting in it, and whatever else the machine does.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parent.parent
IPYTHON = tempfile.mkdtemp()
BYTECODE = tempfile.mkdtemp()

PREPARE = """
import random, string, sys, time
r = random.Random(1)
words = ["".join(r.choices(string.ascii_lowercase, k=r.randint(2, 9))) for _ in range(5000)]
lines = [f"epoch {i:5d} loss {r.random():.6f} " + " ".join(r.choices(words, k=10)) for i in range(12000)]
blocks = ["\\n".join(lines)[:1_000_000]]
colours = [f"\\x1b[32m{i:5d}\\x1b[0m " + " ".join(r.choices(words, k=10)) for i in range(12000)]
colour_blocks = ["\\n".join(colours)[:1_000_000]]
beyond_ascii = [blocks[0].replace("loss", "Verlust \u20ac")]
def run(texts, mb):
    sys.stdout.flush()
    start, used, left = time.perf_counter(), time.process_time(), mb * 1_000_000
    while left > 0:
        for text in texts:
            print(text)
            left -= len(text) + 1
            if left <= 0: break
    sys.stdout.flush()
    print("\\n", time.perf_counter() - start, time.process_time() - used)
"""
ARM = """
from colab_magics import masking
masking.arm(get_ipython())
"""
REGISTER = """
for _ in range({count}):
    masking.register("ghp_" + "".join(random.choices(string.ascii_letters + string.digits, k=36)))
"""


def execute(client: BlockingKernelClient, code: str) -> str:
    """Run a cell, reading all that it prints; return the last line."""
    request, end = client.execute(code), ""
    while True:
        message = client.get_iopub_msg(timeout=600)
        if message["parent_header"].get("msg_id") != request:
            continue
        content = message["content"]
        if message["msg_type"] == "error":
            raise SystemExit("\n".join(content["traceback"]))
        if message["msg_type"] == "stream":
            end = (end + content["text"])[-200:]
        if content.get("execution_state") == "idle":
            return end.strip().rpartition("\n")[2]


def start(*arguments: str) -> tuple[KernelManager, BlockingKernelClient]:
    """Start a kernel and wait until it answers."""
    manager = KernelManager(kernel_name="python3")
    env = os.environ | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": IPYTHON, "PYTHONPYCACHEPREFIX": BYTECODE}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody's second start compiles anything
    manager.start_kernel(env=env, extra_arguments=list(arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    return manager, client


def measure_printing(mb: int, runs: int, texts: list[str], counts: list[int]) -> None:
    """Print the cost of printing with no secret yet, and with some."""
    kinds = {"no mask": PREPARE, "mask, idle": PREPARE + ARM}
    kinds |= {f"mask, {count} secrets": PREPARE + ARM + REGISTER.format(count=count) for count in counts}
    kernels = {kind: start() for kind in kinds}
    for kind, (_, client) in kernels.items():
        execute(client, kinds[kind])
        execute(client, "run(blocks, 1)")  # the first output after a registration prepares the search
    for name in texts:
        taken: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
        for number in range(runs):
            # Each is the first, the second, ... in turn: who follows whom must not matter.
            order = [*kinds][number % len(kinds) :] + [*kinds][: number % len(kinds)]
            for kind in order:
                taken[kind].append([float(word) for word in execute(kernels[kind][1], f"run({name}, {mb})").split()])
        for kind, each in taken.items():
            wall, cpu = (statistics.median(column) for column in zip(*each, strict=True))
            pairs = [(a / b, c / d) for (a, c), (b, d) in zip(each, taken["no mask"], strict=True)]
            ratios = [statistics.median(column) for column in zip(*pairs, strict=True)]
            print(f"print {mb} MB of {name:13} {kind:16} wall {wall:7.3f} s {ratios[0]:.3f}x   "
                  f"processor {cpu:7.3f} s {ratios[1]:.3f}x", flush=True)  # fmt: skip
    for manager, client in kernels.values():
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def measure_start(runs: int) -> None:
    """Print what loading the extension adds to a kernel's start, from the process's start to its first answer."""
    kinds = {"without": [], "with": ["--IPKernelApp.extensions=colab_magics"]}
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for number in range(-1, runs):  # the first compiles
        for kind in sorted(kinds, reverse=number % 2 == 0):
            begin = time.perf_counter()
            manager, client = start(*kinds[kind])
            used = float(execute(client, "import time; print(time.process_time())"))
            if number >= 0:
                taken[kind].append((time.perf_counter() - begin, used))
            loaded = execute(client, "import sys; print('colab_magics.masking.ipython.arming' in sys.modules)")
            if loaded != str(kind == "with"):
                raise SystemExit(f"the extension is loaded: {loaded}, in a kernel {kind} it")
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    for place, clock in enumerate(("wall", "processor")):
        bare, loaded_ = ([1000 * each[place] for each in taken[kind]] for kind in ("without", "with"))
        added = [b - a for a, b in zip(bare, loaded_, strict=True)]
        low, high = interval(added)
        print(f"start of a kernel, {clock:9} {statistics.median(bare):.0f} ms; loading adds "
              f"{statistics.median(added):+.1f} ms, median of {runs} pairs ({low:+.1f} to {high:+.1f})")  # fmt: skip


def interval(values: list[float]) -> tuple[float, float]:
    """Return bounds between which the median of what was sampled lies, in 95 of 100 cases, however it is spread."""
    ordered, count = sorted(values), len(values)
    rank = max(0, int(count / 2 - 0.98 * math.sqrt(count)))  # as many of `count` coins may well show heads
    return ordered[rank], ordered[count - 1 - rank]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--texts", default="lines,blocks,colours,colour_blocks,beyond_ascii")
    parser.add_argument("--secrets", default="1,50")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}")
    if options.runs:
        measure_printing(
            options.mb, options.runs, options.texts.split(","), [int(n) for n in options.secrets.split(",")]
        )
    if options.starts:
        measure_start(options.starts)


if __name__ == "__main__":
    main()
