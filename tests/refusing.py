"""A file system that refuses what some do: run as a program, it shows a folder at a mount point until it is unmounted.

Linux's FUSE, by mfusepy. What is refused is answered with an errno: ``chmod=EPERM utimens=ENOSYS symlink=ENOTSUP
rename_folder=EPERM``; ``coarse`` keeps times as FAT does, in steps of two seconds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_STEP = 2_000_000_000  # nanoseconds


@contextlib.contextmanager
def mounted(place: Path, *refusals: str) -> Iterator[Path]:
    """Mount it at `place`, where that can be had."""
    pytest.importorskip("mfusepy", exc_type=(ImportError, OSError), reason="a FUSE mount needs mfusepy and libfuse")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("a FUSE mount needs /dev/fuse, and the right to open it")
    below = place.with_name(f"{place.name}-below")
    below.mkdir()
    place.mkdir()
    command = [sys.executable, __file__, str(below), str(place), *refusals]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "mounted\n", "the file system did not start"
        try:
            yield place
        finally:
            subprocess.run(["fusermount", "-u", "-z", str(place)], check=False)
            server.wait(20)


def _serve(below: str, place: str, refusals: list[str]) -> None:
    import mfusepy

    refused = dict(word.split("=") for word in refusals if "=" in word)
    is_coarse = "coarse" in refusals

    def check(call: str) -> None:
        if call in refused:
            raise mfusepy.FuseOSError(getattr(errno, refused[call]))

    class Refusing(mfusepy.Operations):
        use_ns = True

        def init(self, path: str) -> None:
            print("mounted", flush=True)

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            status = os.lstat(below + path)
            names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
            times = {f"st_{kind}time": getattr(status, f"st_{kind}time_ns") for kind in "amc"}
            if is_coarse:
                times["st_mtime"] -= times["st_mtime"] % _STEP
            return {name: getattr(status, name) for name in names} | times

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *os.listdir(below + path)]

        def readlink(self, path: str) -> str:
            return os.readlink(below + path)

        def mkdir(self, path: str, mode: int) -> int:
            os.mkdir(below + path, mode)
            return 0

        def rmdir(self, path: str) -> int:
            os.rmdir(below + path)
            return 0

        def unlink(self, path: str) -> int:
            os.unlink(below + path)
            return 0

        def create(self, path: str, mode: int, fi: Any = None) -> int:
            return os.open(below + path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

        def open(self, path: str, flags: int) -> int:
            return os.open(below + path, flags & ~os.O_APPEND)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            return os.pwrite(fh, data, offset)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            os.truncate(below + path, length)
            return 0

        def release(self, path: str, fh: int) -> int:
            os.close(fh)
            return 0

        def rename(self, old: str, new: str) -> int:
            if stat.S_ISDIR(os.lstat(below + old).st_mode):
                check("rename_folder")
            os.rename(below + old, below + new)
            return 0

        def chmod(self, path: str, mode: int) -> int:
            check("chmod")
            os.chmod(below + path, mode)
            return 0

        def symlink(self, target: str, source: str) -> int:
            check("symlink")
            os.symlink(source, below + target)
            return 0

        def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
            check("utimens")
            os.utime(below + path, ns=times or (time.time_ns(), time.time_ns()))
            return 0

    if "flock" in refused:  # else the kernel keeps the locks, which is what most file systems let it do

        def flock(self: object, path: str, fh: int, op: int) -> int:
            check("flock")
            return 0

        Refusing.flock = flock

    mfusepy.FUSE(Refusing(), place, foreground=True, nothreads=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], sys.argv[3:])
