"""What the mask costs: printing through a kernel, starting one, and doing nothing.

Usage: ``python benchmarks/mask.py [--mb 100] [--runs 5] [--starts 10]``

Kernels without the mask, and with it at 1 and at 50 secrets, run side by side and take turns, so that a busy
machine slows all of them. Reported are medians, and the ratio to the kernel without the mask. The client runs
in this process and reads everything, as a notebook would; the clock is the kernel's own.
"""

from __future__ import annotations

import argparse
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

PREPARE = """
import random, string, sys, time
r = random.Random(1)
words = ["".join(r.choices(string.ascii_lowercase, k=r.randint(2, 9))) for _ in range(5000)]
lines = [f"epoch {i:5d} loss {r.random():.6f} " + " ".join(r.choices(words, k=10)) for i in range(12000)]
blocks = ["\\n".join(lines)[:1_000_000]]
colours = [f"\\x1b[32m{i:5d}\\x1b[0m " + " ".join(r.choices(words, k=10)) for i in range(12000)]
def run(texts, mb):
    sys.stdout.flush()
    start, left = time.perf_counter(), mb * 1_000_000
    while left > 0:
        for text in texts:
            print(text)
            left -= len(text) + 1
            if left <= 0: break
    sys.stdout.flush()
    print("\\n" + repr(time.perf_counter() - start))
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
    env = os.environ | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": tempfile.mkdtemp()}
    manager.start_kernel(env=env, extra_arguments=list(arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    return manager, client


def measure_printing(mb: int, runs: int) -> None:
    """Print the cost of printing, at no, one and fifty secrets, and with no secret yet."""
    kinds = {"no mask": PREPARE, "mask, idle": PREPARE + ARM}
    kinds |= {f"mask, {count} secrets": PREPARE + ARM + REGISTER.format(count=count) for count in (1, 50)}
    kernels = {kind: start() for kind in kinds}
    for kind, (_, client) in kernels.items():
        execute(client, kinds[kind])
    for texts in ("lines", "blocks", "colours"):
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(runs):
            for kind, (_, client) in kernels.items():
                seconds[kind].append(float(execute(client, f"run({texts}, {mb})")))
        base = statistics.median(seconds["no mask"])
        for kind, each in seconds.items():
            middle = statistics.median(each)
            print(f"print {mb} MB of {texts:8} {kind:18} {middle:7.3f} s  {middle / base:.3f}x")
    for manager, client in kernels.values():
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def measure_start(runs: int) -> None:
    """Print what arming adds to a kernel's start, from the process's start to its first answer."""
    seconds: dict[str, list[float]] = {"no mask": [], "mask": []}
    line = "from colab_magics import masking; masking.arm(get_ipython())"
    for _ in range(runs):
        for kind, arguments in (("no mask", []), ("mask", [f"--IPKernelApp.exec_lines={line}"])):
            begin = time.perf_counter()
            manager, client = start(*arguments)
            execute(client, "pass")
            seconds[kind].append(time.perf_counter() - begin)
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    added = [with_mask - without for with_mask, without in zip(seconds["mask"], seconds["no mask"], strict=True)]
    print(f"start of a kernel: {statistics.median(seconds['no mask']) * 1000:.0f} ms; "
          f"the mask adds {statistics.median(added) * 1000:+.0f} ms (median of {runs} pairs)")  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--starts", type=int, default=10)
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}")
    measure_printing(options.mb, options.runs)
    measure_start(options.starts)


if __name__ == "__main__":
    main()
