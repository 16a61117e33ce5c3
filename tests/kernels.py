"""A real kernel in its own process, and everything it ever says."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

_NOISE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\\+n|\s")


def leaves(value: Any) -> Iterator[str]:
    """Yield every string, key and number in a message's content."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, (bytes, memoryview)):
        yield bytes(value).decode("latin-1")
    else:
        yield str(value)


class Said:
    """The messages that answered one request."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.messages = messages

    def stream(self, name: str) -> str:
        return "".join(m["content"]["text"] for m in self.messages
                       if m["msg_type"] == "stream" and m["content"]["name"] == name)  # fmt: skip

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [m["content"] for m in self.messages if m["msg_type"] == kind]

    @property
    def kinds(self) -> list[str]:
        return [m["msg_type"] for m in self.messages]

    @property
    def text(self) -> str:
        """Everything that was said, as one text; streams also put together."""
        parts = [leaf for m in self.messages for leaf in leaves([m["content"], m["metadata"], m["buffers"]])]
        return "\0".join([*parts, self.stream("stdout"), self.stream("stderr")])


def holds(text: str, needle: str) -> bool:
    """Tell whether a person could read `needle` in `text`, maybe across line breaks and colours."""
    return needle in text or _quiet(needle) in _quiet(text)


@functools.lru_cache(maxsize=8)  # the same text is searched for one secret after the other
def _quiet(text: str) -> str:
    return _NOISE.sub("", text)


class Kernel:
    """An ipykernel of the interpreter that runs the tests.

    Parameters
    ----------
    folder : Path
        Its home, its working directory, its log.
    module : str
        What is run, if that is not ipykernel itself.
    """

    def __init__(self, folder: Path, *, module: str = "", **environ: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "server.log"
        env = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        tests = Path(__file__).parent
        env |= {"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}",
                "PYTHONWARNINGS": "default", "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
                "PYDEVD_DISABLE_FILE_VALIDATION": "1"} | environ  # fmt: skip
        self._file = self.log.open("wb")
        # Sockets in a folder with a short name: ports that are free now may be somebody else's when the kernel is up.
        self._sockets = tempfile.TemporaryDirectory()
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{self._sockets.name}/k")
        if module:
            self.manager.kernel_spec.argv = [sys.executable, "-m", module, "-f", "{connection_file}"]
        self.manager.start_kernel(cwd=str(folder), env=env, stdout=self._file, stderr=self._file)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=90)

    def run(
        self,
        code: str,
        *,
        answers: tuple[str | Callable[[Said], str | None], ...] = (),
        until: Callable[[Said], bool] = lambda _: True,
        interrupt_when: Callable[[Said], bool] = lambda _: False,
        **options: Any,
    ) -> Said:
        """Execute a cell; return all that came on every channel until the kernel was idle and had replied.

        Who is asked gives the next of `answers`: a text, or what one that is called says of all that came so far (None:
        more has to come).
        Then wait for `until`, 5 seconds at most: what goes through a file descriptor may arrive after that.
        As soon as `interrupt_when` holds, press the stop button once.
        """
        return self._collect(
            self.client.execute(code, allow_stdin=True, stop_on_error=False, **options),
            list(answers),
            until,
            interrupt_when,
        )

    def ask(self, method: str, *args: Any, **options: Any) -> Said:
        """Send a request other than execute (``complete``, ``inspect``, ``history``)."""
        return self._collect(getattr(self.client, method)(*args, **options), [], lambda _: True)

    def control(self, kind: str, **content: Any) -> Said:
        """Send a request on the control channel (``debug_request``, ``create_subshell_request``); return the answer."""
        message = self.client.session.msg(kind, content)
        self.client.control_channel.send(message)
        request = message["header"]["msg_id"]
        while True:  # it raises if nothing comes
            answer = self.client.get_control_msg(timeout=30)
            if answer["parent_header"].get("msg_id") == request:
                return Said([answer])

    def run_in_subshell(self, code: str) -> Said:
        """Execute a cell in a subshell of its own; return what it printed and its reply."""
        message = self.client.session.msg("execute_request", {"code": code, "silent": False, "allow_stdin": False})
        created = self.control("create_subshell_request").messages[0]["content"]
        message["header"]["subshell_id"] = created["subshell_id"]
        self.client.shell_channel.send(message)
        return self._collect(message["header"]["msg_id"], [], lambda said: bool(said.of("stream")))

    def _collect(
        self,
        request: str,
        answers: list[str | Callable[[Said], str | None]],
        until: Callable[[Said], bool],
        interrupt_when: Callable[[Said], bool] = lambda _: False,
    ) -> Said:
        client, found, deadline = self.client, [], time.monotonic() + 60
        idle = replied = interrupted = False
        asked = 0
        waiting = 0.0
        while not (idle and replied and until(Said(found))):
            if idle and replied:
                waiting = waiting or time.monotonic() + 5
                if time.monotonic() > waiting:
                    break
            elif time.monotonic() > deadline:
                raise TimeoutError([m["msg_type"] for m in found])
            if not interrupted and interrupt_when(Said(found)):
                interrupted = True
                self.manager.interrupt_kernel()
            for get, patience in ((client.get_iopub_msg, 0.01), (client.get_stdin_msg, 0), (client.get_shell_msg, 0)):
                try:
                    message = get(timeout=patience)
                except queue.Empty:
                    continue
                if message["parent_header"].get("msg_id") != request:
                    continue
                found.append(message)
                asked += message["msg_type"] == "input_request"
                idle |= message["content"].get("execution_state") == "idle"
                replied |= get == client.get_shell_msg
            if asked and answers:
                answer = answers[0] if isinstance(answers[0], str) else answers[0](Said(found))
                if answer is not None:
                    client.input(answer)
                    del answers[0]
                    asked -= 1
        return Said(found)

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self._file.close()
        self._sockets.cleanup()


@contextlib.contextmanager
def running(folder: Path, *, module: str = "", **environ: str) -> Iterator[Kernel]:
    """Start a kernel, and stop it whatever happens."""
    kernel = Kernel(folder, module=module, **environ)
    try:
        yield kernel
    finally:
        kernel.stop()
