"""A JupyterLab or Classic Notebook server of its own, and a headless Chromium that looks at one notebook in it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import colab_magics

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["CHROMIUM", "CHROMIUM_DRIVER", "ClassicPage", "Lab", "Page", "chromium", "classic", "jupyterlab", "opened"]

CHROMIUM = shutil.which("chromium")
CHROMIUM_DRIVER = shutil.which("chromedriver")

_PATIENCE = 60  # seconds; the length of a hang, not of a run
_FLAGS = (
    "--headless=new --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --no-proxy-server --window-size=1200,2400"
)
_SETTINGS = {
    # Left alone it draws only the cells in view; here every output shall be in the page.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
}


class Lab:
    """A running server.

    Attributes
    ----------
    folder : Path
        What it serves.
    address : str
        Where, without a slash at the end.
    token : str
        Who has it may in.
    """

    def __init__(self, folder: Path, token: str, process: subprocess.Popen[str]) -> None:
        self.folder, self.token, self.address = folder, token, ""
        self._lines: list[str] = []
        self._told = threading.Event()
        self._process = process
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait(self) -> None:
        """Wait until it answers, or has died."""
        self._told.wait(_PATIENCE)
        assert self.address, "".join(self._lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if not self.address and (found := re.search(r"http://127\.0\.0\.1:\d+", line)):
                self.address = found[0]
                self._told.set()
        self._told.set()

    def stop(self) -> None:
        """End it and, by it, its kernels; whatever does not go is killed."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        _kill_session(self._process)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def jupyterlab(folder: Path, **environ: str) -> Iterator[Lab]:
    """Serve the new folder `folder`/served; everything that Jupyter keeps is in `folder` too.

    Parameters
    ----------
    folder : Path
        An empty folder.
    **environ : str
        Further environment variables of the server, and so of its kernels.
    """
    for name, settings in _SETTINGS.items():
        place = folder / "settings" / f"{name}.jupyterlab-settings"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(settings))
    options = ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--ServerApp.terminals_enabled=False",
               "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
               "--LabApp.extension_manager=readonly"]  # fmt: skip
    with _served(folder, "jupyterlab", options, environ) as lab:
        yield lab


@contextlib.contextmanager
def classic(folder: Path, **environ: str) -> Iterator[Lab]:
    """Serve the same with Classic Notebook, whose page Colab's own was made from."""
    with socket.create_server(("127.0.0.1", 0)) as free:  # given 0 it takes one and tells nobody; another's: the next
        port = free.getsockname()[1]
    options = ["--NotebookApp.ip=127.0.0.1", f"--NotebookApp.port={port}", "--NotebookApp.terminals_enabled=False"]
    with _served(folder, "notebook", options, environ) as lab:
        yield lab


@contextlib.contextmanager
def _served(folder: Path, module: str, options: list[str], environ: dict[str, str]) -> Iterator[Lab]:
    served, token = folder / "served", secrets.token_hex(16)
    served.mkdir()
    outside = ("JUPYTER", "PYTEST")
    env = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    env |= {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_TOKEN": token,
            "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONPATH": str(Path(colab_magics.__file__).parents[1])} | environ  # fmt: skip
    command = [sys.executable, "-m", module, "--no-browser", "--allow-root", f"--notebook-dir={served}", *options]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lab = Lab(served, token, process)
    try:
        lab.wait()
        yield lab
    finally:
        lab.stop()


class Page:
    """A notebook in JupyterLab in a browser.

    Parameters
    ----------
    driver : selenium.webdriver.Chrome
        The browser; it shows the notebook.
    """

    #: JavaScript: that the kernel can be asked; the elements of the cells' outputs.
    ready = "window.jupyterapp && jupyterapp.shell.currentWidget?.sessionContext?.isReady"
    areas = "Array.from(document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-Cell-outputArea'))"
    #: Selectors: what one types a cell into; what a completion offers; a prompt.
    editors = ".jp-Notebook .jp-CodeCell .cm-content"
    offers = ".jp-Completer:not(.lm-mod-hidden) .jp-Completer-match"
    prompt = ".jp-Stdin-input"

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self.wait_for(self.ready)

    def start(self, number: int) -> None:
        """Run a cell, and do not wait for it."""
        script = """
            jupyterapp.shell.currentWidget.content.activeCellIndex = arguments[0];
            jupyterapp.commands.execute('notebook:run-cell');
        """
        self.driver.execute_script(script, number)

    def interrupt(self) -> None:
        """Press the stop button."""
        self.run("notebook:interrupt-kernel")

    def save(self) -> None:
        """Write the notebook's file."""
        self.run("docmanager:save")

    def complete(self, number: int, text: str) -> list[str]:
        """Type a text into a cell, press Tab, and return what is offered."""
        from selenium.webdriver import ActionChains, Keys

        self.driver.find_elements("css selector", self.editors)[number].click()
        ActionChains(self.driver).send_keys(text, Keys.TAB).perform()
        self.wait_for(f"document.querySelector({json.dumps(self.offers)})")
        script = "return Array.from(document.querySelectorAll(arguments[0]), item => item.textContent)"
        found: list[str] = self.driver.execute_script(script, self.offers)
        return found

    def help(self, number: int) -> str:
        """Return what a cell that ends in ``?`` has shown."""
        self.wait_for(f"{self.areas}[{number}].innerText.trim()")
        return self.texts()[number]

    def answer(self, text: str) -> None:
        """Type into the prompt that a cell shows."""
        self.wait_for(f"document.querySelector({json.dumps(self.prompt)})")
        self.driver.find_element("css selector", self.prompt).send_keys(text + "\n")

    def texts(self) -> list[str]:
        """Return each cell's outputs as one reads them."""
        found: list[str] = self.driver.execute_script(f"return {self.areas}.map(area => area.innerText)")
        return found

    def picture(self, path: Path) -> None:
        """Save what the window shows."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        self._until(lambda: bool(self.driver.execute_script(f"return Boolean({condition})")), condition)

    def wait_for_outputs(self, ready: Callable[[list[str]], bool], patience: float = 10) -> list[str]:
        """Wait until the cells' outputs are as expected, and return them; or as they are after so many seconds."""
        from selenium.common.exceptions import TimeoutException

        with contextlib.suppress(TimeoutException):
            self._until(lambda: ready(self.outputs()), "the outputs", patience)
        return self.outputs()

    def _until(self, ready: Callable[[], bool], what: str, patience: float = _PATIENCE) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, patience, poll_frequency=0.05).until(lambda _: ready(), what)

    def run(self, command: str) -> None:
        """Run one of JupyterLab's commands on the notebook, until it is done."""
        script = """
            const [command, done] = arguments;
            jupyterapp.commands.execute(command).then(() => done(null), error => done(String(error)));
        """
        problem = self.driver.execute_async_script(script, command)
        assert problem is None, problem

    def outputs(self) -> list[str]:
        """Return what the page holds of each cell's outputs: their text as one reads it, and their HTML."""
        script = f"return {self.areas}.map(area => area.innerText + area.outerHTML)"
        found: list[str] = self.driver.execute_script(script)
        return found

    def everything(self) -> str:
        """Return all of the page: its text, its HTML, the notebook behind it, what it stored in the browser."""
        script = """
            return [document.body.innerText, document.documentElement.outerHTML,
                    JSON.stringify(jupyterapp.shell.currentWidget.content.model.toJSON()),
                    ...Object.values({...localStorage}), ...Object.values({...sessionStorage})].join('\\n')
        """
        found: str = self.driver.execute_script(script)
        return found

    def received(self) -> str:
        """Return everything that came to the page through a websocket since this was last asked."""
        frames = []
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.webSocketFrameReceived":
                frames.append(_payload(event["params"]["response"]))
        return "\n".join(frames)


class ClassicPage(Page):
    """A notebook in Classic Notebook in a browser."""

    ready = "window.Jupyter?.notebook?._fully_loaded && Jupyter.notebook.kernel?.is_connected()"
    areas = "Jupyter.notebook.get_cells().map(cell => cell.output_area.element[0])"
    editors = ".code_cell .CodeMirror"
    offers = ".completions option"
    prompt = ".raw_input"

    def start(self, number: int) -> None:
        """Run a cell, and do not wait for it."""
        self.driver.execute_script("Jupyter.notebook.execute_cells([arguments[0]])", number)

    def interrupt(self) -> None:
        """Press the stop button."""
        self.driver.execute_script("Jupyter.notebook.kernel.interrupt()")

    def save(self) -> None:
        """Write the notebook's file."""
        script = "const done = arguments[0]; Jupyter.notebook.save_notebook().then(() => done())"
        self.driver.execute_async_script(script)

    def help(self, number: int) -> str:
        """Return what a cell that ends in ``?`` has shown, which is below the notebook."""
        self.wait_for("document.querySelector('#pager-container')?.innerText.trim()")
        shown: str = self.driver.execute_script("return document.querySelector('#pager-container').innerText")
        return shown


def _payload(frame: dict[str, Any]) -> str:
    # Of RFC 6455's frames, those of opcode 1 are text; the browser tells all others in base64.
    data: str = frame["payloadData"]
    return data if frame["opcode"] == 1 else base64.b64decode(data).decode("utf-8", "replace")


@contextlib.contextmanager
def opened(lab: Lab, notebook: str, folder: Path, kind: type[Page] = Page) -> Iterator[Page]:
    """Open a notebook of `lab` in a browser that was never used before.

    Parameters
    ----------
    lab : Lab
        The server.
    notebook : str
        A file's name in the folder that it serves.
    folder : Path
        An empty folder for all that the browser keeps.
    kind : type of Page, optional
        What the server serves.
    """
    with chromium(folder) as driver:
        # A workspace of its own: JupyterLab opens again what was last open in one.
        where = "notebooks" if kind is ClassicPage else f"lab/workspaces/{Path(notebook).stem}/tree"
        driver.get(f"{lab.address}/{where}/{notebook}?token={lab.token}")
        yield kind(driver)


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Chrome]:
    """Start a headless browser that was never used before; `folder` is an empty one for all that it keeps."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in [*_FLAGS.split(), f"--user-data-dir={folder}/profile"]:
        options.add_argument(flag)
    # Nobody but the server is to be found.
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    # Chromium's sandbox refuses to work for root, and for anybody in most containers; what it opens here is ours.
    options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    options.add_experimental_option("perfLoggingPrefs", {"enableNetwork": True, "enablePage": False})
    # A folder with a short name: the browser puts a socket there.
    brief = tempfile.mkdtemp()
    env = dict(os.environ) | {"HOME": str(folder), "TMPDIR": brief}
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        env.pop(name, None)
    service = Service(CHROMIUM_DRIVER, env=env, log_output=str(folder / "driver.log"),
                      popen_kw={"start_new_session": True})  # fmt: skip
    loopback = "127.0.0.1,localhost"  # where the driver listens: not for a proxy
    driver = None
    try:
        with mock.patch.dict(os.environ, {"NO_PROXY": loopback, "no_proxy": loopback}):
            driver = Chrome(options, service)
        driver.set_page_load_timeout(_PATIENCE)
        driver.set_script_timeout(_PATIENCE)
        yield driver
    finally:
        if driver is not None:
            with contextlib.suppress(Exception):
                driver.quit()
        if (process := getattr(service, "process", None)) is not None:
            _kill_session(process)
        shutil.rmtree(brief, ignore_errors=True)


def _kill_session(leader: subprocess.Popen[Any]) -> None:
    """Kill all that is left of a process that leads its session, and of its descendants there."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(entry.name)) == leader.pid:
                os.kill(int(entry.name), signal.SIGKILL)
    leader.kill()
    leader.wait()
