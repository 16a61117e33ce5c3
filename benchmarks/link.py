"""A link between this machine's loopback and itself: so many bytes a second, so much delay.

``python benchmarks/link.py PORT [PORT ...] [--rate MB/s] [--each MB/s] [--delay SECONDS]`` prints a port for each PORT,
and passes on to it whatever comes, until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PIECE = 1 << 16


class Bucket:
    """Lets so many bytes a second pass; 0 lets all pass."""

    def __init__(self, rate: float) -> None:
        self.rate, self.free_at = rate, 0.0

    def at(self, count: int) -> float:
        """Return when `count` bytes have passed that are given to it now."""
        now = time.monotonic()
        if not self.rate:
            return now
        self.free_at = max(self.free_at, now) + count / self.rate
        return self.free_at


async def pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, buckets: list[Bucket], delay: float
) -> None:
    """Pass on what comes on one side of a connection, later."""
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)

    async def deliver() -> None:
        while True:
            due, piece = await waiting.get()
            if (ahead := due - time.monotonic()) > 0.001:
                await asyncio.sleep(ahead)
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        writer.close()

    task = asyncio.create_task(deliver())
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            passed = max(bucket.at(len(piece)) for bucket in buckets)
            await waiting.put((passed + delay, piece))
            # What is not through yet waits at the sender, as on a link.
            if (ahead := passed - time.monotonic()) > 0.02:
                await asyncio.sleep(ahead)
    await waiting.put((0.0, b""))
    with contextlib.suppress(OSError):
        await task


async def serve(ports: list[int], rate: float, each: float, delay: float) -> None:
    """Serve until killed; both directions have the whole rate for themselves."""
    up, down = Bucket(rate), Bucket(rate)
    servers = []
    for port in ports:

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port) -> None:
            await asyncio.sleep(delay)  # of the handshake
            there, back = await asyncio.open_connection("127.0.0.1", port)
            # Half of the delay on each way.
            await asyncio.gather(
                pass_on(reader, back, [up, Bucket(each)], delay / 2),
                pass_on(there, writer, [down, Bucket(each)], delay / 2),
            )

        servers.append(await asyncio.start_server(accept, "127.0.0.1", 0))
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


@contextlib.contextmanager
def link(ports: list[int], *, rate: float = 0, each: float = 0, delay: float = 0) -> Iterator[list[int]]:
    """Run this file in a process of its own; yield the ports that lead to `ports`."""
    options = [f"--rate={rate}", f"--each={each}", f"--delay={delay}"]
    command = [sys.executable, str(Path(__file__)), *map(str, ports), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield [int(port) for port in process.stdout.readline().split()]
        finally:
            process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ports", type=int, nargs="+")
    for name in ("--rate", "--each", "--delay"):
        parser.add_argument(name, type=float, default=0)
    asked = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(asked.ports, asked.rate * 1e6, asked.each * 1e6, asked.delay))
