"""Syncs in processes of their own: to be killed, to run out of disk, to have no rights.

Run as a script it does what its argument, an object in JSON, says, and answers in JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["Outcome", "crash_everywhere", "start_sync", "sync_in_child"]

ROOT = Path(__file__).parents[1]
_COMMAND = [sys.executable, "-W", "error", __file__]
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1

Outcome = dict[str, Any]


def start_sync(call: dict[str, Any], **more: Any) -> subprocess.Popen[str]:
    """Start a sync in a process of its own; `call` holds its arguments, `more` how the process is limited.

    With ``obedient=True`` it is bound by the modes of files, even where the tests run as root; `file_size` (bytes) is
    what no file of it may exceed.
    """
    task = json.dumps({"call": call, "path": [str(ROOT), *sys.path[1:]], **more})
    return subprocess.Popen([*_COMMAND, task], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sync_in_child(call: dict[str, Any], **more: Any) -> Outcome:
    """Run a sync in a process of its own; return its result's fields, or its error's class and message."""
    process = start_sync(call, **more)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert not errors, errors
    outcome: Outcome = json.loads(output)
    return outcome


def crash_everywhere(call: dict[str, Any], template: Path | None, *, step: int = 1) -> list[Outcome]:
    """Kill a sync at its first, second, third, ... change of the disk, and run it again each time.

    Parameters
    ----------
    call : dict
        The sync's arguments; ``dest`` is made anew from `template` before each.
    template : Path or None
        What DEST is like before; None: it does not exist.
    step : int, optional
        Take every `step`-th change only.

    Returns
    -------
    list of dict
        For each kill the files of DEST afterwards, and what the next run came to; the last entry is that of a
        run that nobody killed.
    """
    task = {"crash": True, "call": call, "template": template and str(template), "step": step}
    command = [sys.executable, __file__, json.dumps({**task, "path": [str(ROOT), *sys.path[1:]]})]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    outcomes: list[Outcome] = json.loads(done.stdout)
    return outcomes


def _sync(call: dict[str, Any]) -> Outcome:
    from colab_magics.core.syncing.sync import sync
    from colab_magics.errors import ColabMagicsError

    try:
        result = sync(**call)
    except ColabMagicsError as error:
        return {"error": type(error).__name__, "message": str(error)}
    fields = ("added", "updated", "unchanged", "removed", "backed_up", "status")
    return {field: getattr(result, field) for field in fields} | {"path": os.fspath(result)}


def _files(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found[path.relative_to(folder).as_posix()] = path.read_text("latin-1")
    return found


def _crash(task: dict[str, Any]) -> list[Outcome]:
    import colab_magics.core.syncing.sync  # noqa: F401 - before the fork, so that it is done once

    dest, outcomes, number = Path(task["call"]["dest"]), [], 0
    while True:
        number += task["step"]
        for folder in dest.parent.iterdir():
            shutil.rmtree(folder)
        if task["template"]:
            shutil.copytree(task["template"], dest, symlinks=True)
        child = os.fork()
        if not child:
            _die_at(number, str(dest.parent))
            _sync(task["call"])
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        left = {"killed": os.WIFSIGNALED(status), "exists": dest.exists(), "files": _files(dest)}
        again = _sync(task["call"])
        left |= {"again": again, "then": _files(dest), "beside": sorted(os.listdir(dest.parent))}
        outcomes.append(left)
        if not left["killed"]:
            return outcomes


def _die_at(number: int, below: str) -> None:
    """Kill this process before its `number`-th change of something below a folder."""
    count = 0
    kinds = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.utime", "os.chmod"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in kinds or writes) and str(arguments[0]).startswith(below):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _main(task: dict[str, Any]) -> object:
    sys.path[:] = task["path"]
    if "file_size" in task:
        resource.setrlimit(resource.RLIMIT_FSIZE, (task["file_size"], task["file_size"]))
    if task.pop("obedient", False) and os.geteuid() == 0:
        # capabilities(7): root may still read all, this Python too, but no longer write where a mode forbids it.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "root's rights cannot be given up here")
        os.execv(sys.executable, [*_COMMAND, json.dumps(task)])
    return _crash(task) if "crash" in task else _sync(task["call"])


if __name__ == "__main__":
    json.dump(_main(json.loads(sys.argv[1])), sys.stdout)
