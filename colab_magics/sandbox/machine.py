"""What a sandbox runs on: its servers, its folder, its token file, and its place in the environment."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from colab_magics.sandbox.dropbox import ContentHost, Website
from colab_magics.sandbox.githost import GitHost
from colab_magics.sandbox.server import Log, LoopbackServer, Request
from colab_magics.sandbox.shares import Shares

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Machine"]


class Machine:
    """Starts everything when it is made, and takes all of it away in `stop`.

    `colab_magics.sandbox.Sandbox` describes its parameters and attributes.
    """

    def __init__(self, *, activate: bool = True, username: str = "acme", token: str | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="colab-magics-sandbox-")).resolve()
        self.username = username
        self.token = token or f"sandbox-{secrets.token_hex(20)}"
        self.token_file = self.root / "tokens.json"
        self._lock = threading.Lock()
        self._secrets: dict[str, str] = {}
        self._environment: dict[str, tuple[str | None, str]] = {}
        self._process = os.getpid()
        self._stopped = False
        home = self.root / "home"
        home.mkdir()
        self._log = Log()
        self._shares = Shares()
        self._content = ContentHost(self._shares, self._content_address)
        self._git = GitHost(self.root / "git", home, self.token)
        self._home = home
        self._servers = [
            LoopbackServer("www", Website(self._shares, self._content), self._log),
            LoopbackServer("content", self._content, self._log),
            LoopbackServer("git", self._git, self._log),
        ]
        www, _, git = self._servers
        self.dropbox_url = f"http://127.0.0.1:{www.port}"
        self.git_host = f"127.0.0.1:{git.port}"
        self._write_token_file()
        if activate:
            self._activate()
        atexit.register(self._stop_at_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.dropbox_url}{', stopped' if self._stopped else ''}>"

    def stop(self) -> None:
        """Stop the servers, restore the environment and remove `root`. A second call does nothing."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        atexit.unregister(self._stop_at_exit)
        for name, (before, ours) in self._environment.items():
            # What somebody has set since then is not ours to undo.
            if os.environ.get(name) == ours:
                if before is None:
                    del os.environ[name]
                else:
                    os.environ[name] = before
        for server in self._servers:
            server.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def _stop_at_exit(self) -> None:
        # A forked child runs this too, and must not remove its parent's folder.
        if os.getpid() == self._process:
            self.stop()

    def _activate(self) -> None:
        self._setenv("COLAB_MAGICS_DROPBOX_URL", self.dropbox_url)
        self._setenv("COLAB_MAGICS_TOKEN_FILE", str(self.token_file))
        if any(name.lower() in ("http_proxy", "all_proxy") for name in os.environ):
            # No proxy can reach this machine's loopback.
            for name in ("NO_PROXY", "no_proxy"):
                self._setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"])))

    def _setenv(self, name: str, value: str) -> None:
        self._environment[name] = (os.environ.get(name), value)
        os.environ[name] = value

    def _content_address(self) -> str:
        # Another host than the website's, as at Dropbox: clients treat a redirect there as leaving the site.
        try:
            name = "localhost" if socket.gethostbyname("localhost") == "127.0.0.1" else "127.0.0.1"
        except OSError:
            name = "127.0.0.1"
        return f"http://{name}:{self._servers[1].port}"

    def add_secret(self, name: str, value: str) -> None:
        """Put a secret into the token file, to be found as ``secret:NAME``.

        Parameters
        ----------
        name, value : str
            Its name, and what it stands for.
        """
        with self._lock:
            self._secrets[name] = value
            self._write_token_file()

    def _write_token_file(self) -> None:
        content: dict[str, Any] = {
            self.git_host: {"access_token": self.token, "username": self.username},
            "secrets": self._secrets,
        }
        # mkstemp makes it 0600; the rename keeps readers from ever seeing half of it.
        handle, path = tempfile.mkstemp(dir=self.root)
        with os.fdopen(handle, "w", encoding="utf-8") as target:
            json.dump(content, target, indent=2)
        os.replace(path, self.token_file)

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in the order of arrival: a copy."""
        return self._log.copy()

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._log.clear()
