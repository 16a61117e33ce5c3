"""A stand-in for the mounted Google Drive: run as a program, it shows a folder at a mount point, as DriveFS does.

What is written to a file reaches the folder below (the cloud's side) only when it is closed; what never was is dropped.
It counts as uploaded once there is a file ``uploaded`` in the folder of switches; until then its attributes say so,
unless there is a file ``silent``: then it has none. ``full`` refuses what is written, ``broken`` stores zeros.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def mounted(place: Path) -> Iterator[tuple[Path, Path]]:
    """Mount it at `place`, where that can be had; yield the folder of the cloud's side, and that of the switches."""
    pytest.importorskip("mfusepy", exc_type=(ImportError, OSError), reason="a FUSE mount needs mfusepy and libfuse")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("a FUSE mount needs /dev/fuse, and the right to open it")
    cloud, switches = place.with_name(f"{place.name}-cloud"), place.with_name(f"{place.name}-switches")
    for folder in (cloud, switches, place):
        folder.mkdir(exist_ok=True)
    command = [sys.executable, __file__, str(cloud), str(place), str(switches)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "mounted\n", "the file system did not start"
        try:
            yield cloud, switches
        finally:
            subprocess.run(["fusermount", "-u", "-z", str(place)], check=False, stderr=subprocess.DEVNULL)
            server.wait(20)


def _serve(cloud: str, place: str, switches: str) -> None:
    import mfusepy

    def is_on(switch: str) -> bool:
        return os.path.exists(f"{switches}/{switch}")

    class Drive(mfusepy.Operations):
        use_ns = True

        def __init__(self) -> None:
            self.numbers = itertools.count(1)
            self.written: dict[str, bytearray] = {}  # what is open for writing, as it is now

        def init(self, path: str) -> None:
            print("mounted", flush=True)

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            status = os.lstat(cloud + path)
            names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
            found = {name: getattr(status, name) for name in names}
            found |= {f"st_{kind}time": getattr(status, f"st_{kind}time_ns") for kind in "amc"}
            return found | ({"st_size": len(self.written[path])} if path in self.written else {})

        def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
            values = {"user.drive.id": b"1aB" if is_on("uploaded") else b"local-17"}
            values["user.drive.uncommitted"] = b"0" if is_on("uploaded") else b"1"
            if is_on("silent") or name not in values:
                raise mfusepy.FuseOSError(errno.ENODATA)
            return values[name]

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *os.listdir(cloud + path)]

        def mkdir(self, path: str, mode: int) -> int:
            os.mkdir(cloud + path, mode)
            return 0

        def rmdir(self, path: str) -> int:
            os.rmdir(cloud + path)
            return 0

        def unlink(self, path: str) -> int:
            os.unlink(cloud + path)
            return 0

        def create(self, path: str, mode: int, fi: Any = None) -> int:
            Path(cloud + path).touch()
            self.written[path] = bytearray()
            return next(self.numbers)

        def open(self, path: str, flags: int) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                self.written[path] = bytearray(Path(cloud + path).read_bytes())
            return next(self.numbers)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            if path in self.written:
                return bytes(self.written[path][offset : offset + size])
            with open(cloud + path, "rb") as file:
                return os.pread(file.fileno(), size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            if is_on("full"):
                raise mfusepy.FuseOSError(errno.ENOSPC)
            self.written[path][offset : offset + len(data)] = bytes(len(data)) if is_on("broken") else data
            return len(data)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            if path in self.written:
                del self.written[path][length:]
            else:
                os.truncate(cloud + path, length)
            return 0

        def release(self, path: str, fh: int) -> int:
            if path in self.written:
                status = os.stat(cloud + path)
                Path(cloud + path).write_bytes(self.written.pop(path))
                os.utime(cloud + path, ns=(status.st_atime_ns, status.st_mtime_ns))
            return 0

        def rename(self, old: str, new: str) -> int:
            os.rename(cloud + old, cloud + new)
            return 0

        def chmod(self, path: str, mode: int) -> int:
            os.chmod(cloud + path, mode)
            return 0

        def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
            os.utime(cloud + path, ns=times)
            return 0

    mfusepy.FUSE(Drive(), place, foreground=True, nothreads=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
