"""The broker that git asks for a token.

git runs a helper (`colab_magics.core.git_helper`) that asks a thread of this process over a socket in a folder
that only this user can enter. So the token is in no argument list, in no environment, in no file and in no
address: only in the answer to git. Configuration reaches git through ``GIT_CONFIG_COUNT`` (git 2.31 and newer).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from colab_magics import masking
from colab_magics.core import git_helper
from colab_magics.core.environment import child_path
from colab_magics.core.links import is_loopback
from colab_magics.core.secrets import HOST_VARIABLES, NAMED_VARIABLE, Credential

__all__ = ["Broker", "clean_environment"]

#: The user name that goes with a token, where a host insists on one. Sources: each host's page on git over https.
USERNAMES = {"github.com": "x-access-token", "gitlab.com": "oauth2", "bitbucket.org": "x-token-auth"}
_DEFAULT_USERNAME = "x-access-token"
_LONGEST_QUESTION = 1 << 16
# Each of these would write requests, and with them tokens, to a file or the terminal, or ask somebody else.
_UNWANTED = ("GIT_TRACE", "GIT_CURL_VERBOSE", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_REDACT")


class Broker:
    """Answers git's questions for a credential while it is open.

    Parameters
    ----------
    credentials : mapping of str to Credential or None
        For each host that may be asked for, with its port where it has one, what to show it.

    Attributes
    ----------
    refused : set of str
        Hosts that did not accept what they were shown: git then asks to erase it.
    asked : set of str
        Hosts that wanted a credential.
    """

    def __init__(self, credentials: Mapping[str, Credential | None]) -> None:
        self.credentials = dict(credentials)
        self.refused: set[str] = set()
        self.asked: set[str] = set()

    def __enter__(self) -> Broker:
        self._folder = Path(tempfile.mkdtemp(prefix="colab_magics-"))  # mkdtemp's rights are 0700
        broker = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 30

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    if _is_mine(self.connection):
                        self.wfile.write(broker._answer(self.rfile.read(_LONGEST_QUESTION)))

        self._server = _Server(str(self._folder / "socket"), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment for git and for whatever starts git: clean, and told to ask this broker."""
        env = clean_environment(environ)
        env["GIT_TERMINAL_PROMPT"] = "0"
        helper = " ".join(
            shlex.quote(word) for word in (sys.executable, "-I", git_helper.__file__, str(self._folder / "socket"))
        )
        settings: list[tuple[str, str]] = []
        for host, credential in self.credentials.items():
            base = f"{'http' if is_loopback(host.partition(':')[0]) else 'https'}://{host}"
            if credential is None:
                continue
            settings += [
                (f"credential.{base}.helper", ""),  # forgets the helpers that were configured before
                (f"credential.{base}.helper", f"!{helper}"),
                (f"credential.{base}.useHttpPath", "true"),
                (f"url.{base}/.insteadOf", f"ssh://git@{host}/"),
            ]
            if ":" not in host:
                settings.append((f"url.{base}/.insteadOf", f"git@{host}:"))
        first = int(env.get("GIT_CONFIG_COUNT") or 0)
        for number, (key, value) in enumerate(settings, first):
            env[f"GIT_CONFIG_KEY_{number}"] = key
            env[f"GIT_CONFIG_VALUE_{number}"] = value
        env["GIT_CONFIG_COUNT"] = str(first + len(settings))
        return env

    def _answer(self, question: bytes) -> bytes:
        operation, *lines = question.decode("utf-8", "replace").splitlines() or [""]
        given = dict(line.partition("=")[::2] for line in lines)
        host = given.get("host", "").lower()
        credential = self.credentials.get(host)
        safe = given.get("protocol") == "https" or (
            given.get("protocol") == "http" and is_loopback(host.partition(":")[0])
        )
        if operation == "erase" and credential:
            self.refused.add(host)
        if operation != "get":
            return b""
        self.asked.add(host)
        if credential is None or not safe:
            return b"quit=1\n"
        username = credential.username or USERNAMES.get(host, _DEFAULT_USERNAME)
        return f"username={username}\npassword={credential.token.reveal()}\n".encode()


def clean_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for an installer and the build scripts that it runs: without any known secret."""
    environ = os.environ if environ is None else environ
    tokens = {name for names in HOST_VARIABLES.values() for name in names}
    env = {
        name: value
        for name, value in environ.items()
        if name not in tokens and not name.startswith((*_UNWANTED, NAMED_VARIABLE)) and masking.redact(value) == value
    }
    env["PATH"] = child_path(environ)
    return env


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def _is_mine(connection: socket.socket) -> bool:
    """Tell whether the other end is this user's: the folder's rights say so already, the kernel says it again."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(peer[4:8], sys.byteorder) == os.getuid()
