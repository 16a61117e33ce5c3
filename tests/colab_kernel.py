"""A kernel that differs from ipykernel's in the ways in which Colab's does.

Colab runs a kernel of its own, whose shell sends errors itself, keeps its own list of executed cells, runs commands on
a terminal and passes on what they print, and answers with content that is a text already. What it does was read in
its public sources; none of that code is here. Run it as ``python -m colab_kernel -f CONNECTION_FILE``.
"""

from __future__ import annotations

import codecs
import inspect
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.jsonutil import json_clean
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.events import EventManager, available_events
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShellABC
from IPython.display import Javascript
from IPython.utils.text import SList


class Result:
    """What a command printed, which is not shown a second time when a cell ends with it."""

    def __init__(self, command: str, status: int, output: str) -> None:
        self.command, self.status, self.output = command, status, output

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        pass


class Traced:
    """A rendered traceback that comes with advice for the front end."""

    def __init__(self, lines: list[str], details: dict[str, Any]) -> None:
        self.lines, self.details = lines, details


class AdvisedError(Exception):
    """An exception whose rendered traceback is no list."""

    def __init__(self, message: str, traced: Traced) -> None:
        super().__init__(message)
        self._traced = traced

    def _render_traceback_(self) -> Traced:
        return self._traced


def on_a_terminal(command: str, send: Callable[[str, Any], None]) -> Result:
    """Run a command on a terminal of its own, passing on through sys.stdout what it prints, as it prints it."""
    ours, theirs = pty.openpty()
    send("cell_display_stdin", {"delayMillis": 500})
    process = subprocess.Popen(command, shell=True, executable="/bin/bash", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    pieces = []
    while True:
        try:
            data = os.read(ours, 1 << 20)
        except OSError:  # how a terminal says that nobody is left to write to it
            break
        pieces.append(decode(data))
        sys.stdout.write(pieces[-1])
    os.close(ours)
    status = process.wait()
    sys.stdout.flush()
    send("cell_remove_stdin", {})
    return Result(command, status, "".join(pieces))


class History(HistoryManager):
    """Keeps a list of cells for the front end, on the class."""

    _input_hist_cells: list[dict[str, Any]] = [{"code": "", "cell_id": ""}]  # noqa: RUF012 - shared, as there

    def store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> None:
        super().store_inputs(line_num, source, source_raw)
        cell = self.shell.parent_header.get("metadata", {}).get("colab", {}).get("cell_id")
        self._input_hist_cells.append({"code": source_raw, "cell_id": cell})

    def _history_with_cells_as_json(self) -> Javascript:
        return Javascript(json.dumps(self._input_hist_cells))


class Shell(ZMQInteractiveShell):
    """Runs commands and reports errors in its own way."""

    def init_events(self) -> None:
        self.events = EventManager(self, available_events)
        self.events.register("pre_execute", self._clear_warning_registry)

    def init_history(self) -> None:
        self.history_manager = History(shell=self, parent=self)
        self.configurables.append(self.history_manager)

    def init_magics(self) -> None:
        super().init_magics()
        self.register_magic_function(self._shell, magic_kind="line", magic_name="shell")
        self.register_magic_function(lambda line, cell: self._shell(cell), magic_kind="cell", magic_name="shell")
        self.set_custom_exc((ImportError,), type(self)._advise)

    def ask_front_end(self, kind: str, body: Any) -> None:
        session = self.kernel.session
        metadata = {"colab_request_type": kind}
        message = session.msg("colab_request", {"request": body}, parent=self.parent_header, metadata=metadata)
        session.send(self.kernel.iopub_socket, message)

    def system(self, cmd: str) -> None:
        on_a_terminal(self.var_expand(cmd, depth=1), self.ask_front_end)

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        output = on_a_terminal(self.var_expand(cmd, depth=depth + 1), self.ask_front_end).output
        return SList(output.splitlines()) if split else output

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        return super().run_cell_magic(magic_name, line, " " if line and not cell else cell)

    def _shell(self, line: str) -> Result:
        result = on_a_terminal(line, self.ask_front_end)
        if result.status:
            raise subprocess.CalledProcessError(result.status, result.command, result.output)
        return result

    def _advise(self, kind: type, error: Exception, tb: Any, tb_offset: int | None = None) -> Any:
        lines = self.InteractiveTB.structured_traceback(kind, error, tb, tb_offset=tb_offset)
        details = {"actions": [{"action": "open_url", "action_text": f"Install what {error} names"}]}
        self.showtraceback(exc_tuple=(kind, AdvisedError(str(error), Traced([*lines, "", "NOTE"], details)), tb))

    def _showtraceback(self, etype: type, evalue: Any, stb: Any) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        content: dict[str, Any] = {"ename": etype.__name__, "evalue": str(evalue)}
        if isinstance(stb, Traced):
            content["error_details"], stb = stb.details, stb.lines
        content["traceback"] = stb
        hook = self.displayhook
        topic = hook.topic.replace(b"execute_result", b"err") if hook.topic else None
        hook.session.send(hook.pub_socket, "error", json_clean(content), hook.parent_header, ident=topic)
        self._last_traceback = stb


InteractiveShellABC.register(Shell)


class Kernel(IPythonKernel):
    """Answers in its own way."""

    def _shell_class_default(self) -> type:
        return Shell

    def do_inspect(self, code: str, cursor_pos: int, detail_level: int = 0, *_: Any, **options: Any) -> Any:
        info = self.shell.object_inspect(code)
        if not info["found"]:
            raise LookupError(code)
        return {"status": "ok", "data": {"application/json": info}, "metadata": {}, "found": True}

    async def inspect_request(self, stream: Any, ident: Any, parent: Any) -> None:
        try:
            await super().inspect_request(stream, ident, parent)
        except LookupError as error:
            content = json.dumps({"status": "ok", "found": False, "why": str(error)})
            self.session.send(stream, "inspect_reply", content, parent, ident)

    async def complete_request(self, stream: Any, ident: Any, parent: Any) -> None:
        content = parent["content"]
        matches = self.do_complete(content["code"], content["cursor_pos"])
        if inspect.isawaitable(matches):
            matches = await matches
        matches["metadata"] = {"colab_types_experimental": [{"type_name": match} for match in matches["matches"]]}
        self.session.send(stream, "complete_reply", json_clean(matches), parent, ident)


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=Kernel)
