"""The broker that git, and through it an installer, asks for a token.

git runs a helper (`colab_magics.core.git.credential_helper`) that asks a thread of this process over a socket in a
folder that only this user can enter. So the token is in no argument list, in no environment, in no file and in no
address: only in the answer to git. Configuration reaches git through ``GIT_CONFIG_COUNT`` and
``GIT_CONFIG_SYSTEM`` (git 2.32 and newer).

What this cannot stop: a program of this same user that asks the socket as git does, while an installation runs.
Such a program can read the token file as well.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colab_magics import masking
from colab_magics.core.common.addresses import is_loopback
from colab_magics.core.common.environment import child_path
from colab_magics.core.common.settings import Settings
from colab_magics.core.git import config as gitconfig
from colab_magics.core.git import credential_helper, lfs
from colab_magics.core.secrets import hosts, secrets
from colab_magics.core.secrets.secrets import NAMED_VARIABLE, Credential
from colab_magics.errors import ColabMagicsError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Broker", "answer_clone", "clean_environment", "serve_clones"]

#: The variable that tells git, in clones that this process made, where to ask for as long as this process runs.
CLONES = "COLAB_MAGICS_CLONES"

_LONGEST_QUESTION = 1 << 16  # bytes
_LONGEST_PATH = 100  # bytes; sun_path of unix(7) has 108, and less elsewhere
_PATIENCE = 30.0  # seconds for a question to arrive
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
    folder : Path
        A folder that only this user can enter, gone when the broker is closed.
    refused : set of str
        Hosts that did not accept what they were shown: git then asks to erase it.
    asked : set of str
        Hosts that wanted a credential.
    """

    def __init__(self, credentials: Mapping[str, Credential | None]) -> None:
        self.credentials = dict(credentials)
        self.refused: set[str] = set()
        self.asked: set[str] = set()
        self._tried: dict[str, int] = {}
        self._azure: set[str] = set()
        self._closing = False

    def __enter__(self) -> Self:
        self.folder = _folder()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.folder / "socket"))
        self._server.listen(16)
        self._handles: list[int] = []
        self._thread = threading.Thread(target=self._serve, name="colab_magics broker", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as knock:
            knock.connect(str(self.folder / "socket"))  # wakes the thread, which then sees that it is over
        self._thread.join()
        self._server.close()
        for handle in self._handles:
            os.close(handle)
        shutil.rmtree(self.folder, ignore_errors=True)

    def environment(self, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> dict[str, str]:
        """Return the environment for git and for whatever starts git: clean, and told to ask this broker.

        Parameters
        ----------
        environ : mapping, optional
            What to start from; by default this process's environment.
        folder : Path, optional
            Where git will run: a clone may have a configuration of its own.
        """
        env = clean_environment(environ)
        entries = gitconfig.read(env, os.environ if environ is None else environ, folder)
        env |= {
            "GIT_TERMINAL_PROMPT": "0",
            "LANGUAGE": "en",  # what git says is read here
            "SSH_ASKPASS_REQUIRE": "never",  # with no terminal either, ssh fails where it would ask
        }
        words = (sys.executable, "-I", "-S", credential_helper.__file__, str(self.folder / "socket"))
        # git tells its helpers too when a credential was good; nothing is kept here, so no Python need start for it.
        helper = f'f() {{ test "$1" = store || exec {shlex.join(words)} "$1"; }}; f'
        settings = [(entry.key, entry.value) for entry in entries if entry.scope == "command"]
        instead: list[tuple[str, str]] = []
        for host, credential in self.credentials.items():
            if credential is None:
                continue
            base = hosts.origin(host)
            settings += [
                (f"credential.{base}.helper", ""),  # forgets the helpers that were configured before
                (f"credential.{base}.helper", f"!{helper}"),
                (f"credential.{base}.useHttpPath", "true"),
                *gitconfig.headers(entries, base),
            ]
            instead += [(f"{base}/", prefix) for prefix in hosts.ssh_prefixes(host)]
            instead += gitconfig.rewrites(entries, base)
            if is_loopback(host):  # plain http: a proxy would read the token
                for name in ("no_proxy", "NO_PROXY"):
                    env[name] = ",".join(filter(None, (env.get(name), host.partition(":")[0])))
        if self.credentials.get("dev.azure.com"):
            instead += [pair for project in sorted(self._azure) for pair in hosts.azure_prefixes(project)]
        gitconfig.write_system(self.folder / "gitconfig", instead, env, entries)
        settings += lfs.configuration(env["PATH"], self.folder / "large")
        for name in list(env):
            if name.startswith("GIT_CONFIG_") and name != "GIT_CONFIG_GLOBAL":
                del env[name]
        for number, (key, value) in enumerate(settings):
            env[f"GIT_CONFIG_KEY_{number}"], env[f"GIT_CONFIG_VALUE_{number}"] = key, value
        return env | {"GIT_CONFIG_COUNT": str(len(settings)), "GIT_CONFIG_SYSTEM": str(self.folder / "gitconfig")}

    def learn(self, text: str) -> bool:
        """Take from a text what git must be told to reach repositories in it over https.

        Returns
        -------
        bool
            Whether there was something new.
        """
        found = hosts.azure_projects(text) - self._azure
        self._azure |= found
        return bool(found and self.credentials.get("dev.azure.com"))

    def unstored(self, name: str, text: str) -> str:
        """Return a path at which children of this process can read a text until the broker is closed.

        On Linux it is in this process's memory and on no disk; elsewhere in the broker's own folder.
        """
        if not hasattr(os, "memfd_create"):
            path = self.folder / name
            path.write_text(text, "utf-8")
            return str(path)
        handle = os.memfd_create(name)
        self._handles.append(handle)
        os.write(handle, text.encode())
        return f"/proc/{os.getpid()}/fd/{handle}"

    @property
    def met_large_files(self) -> bool:
        """Whether git came upon files of Git LFS, where git-lfs is there."""
        return (self.folder / "large").exists()

    def try_next_username(self, host: str) -> bool:
        """Show the host's token with the next likely user name from now on.

        Returns
        -------
        bool
            False when there is no further one: then it is the token that was refused.
        """
        credential = self.credentials.get(host)
        tried = self._tried.get(host, 0) + 1
        if credential is None or tried >= len(self._usernames(host, credential)):
            return False
        self._tried[host] = tried
        self.refused.discard(host)
        return True

    def _usernames(self, host: str, credential: Credential) -> list[str]:
        return hosts.usernames(host, credential.token.reveal(), credential.username)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            if self._closing:
                line.close()
                return
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError), line:
            line.settimeout(_PATIENCE)
            if not _is_mine(line):
                return
            question = b""
            while len(question) < _LONGEST_QUESTION and (piece := line.recv(4096)):
                question += piece
            line.sendall(self.answer(question))

    def answer(self, question: bytes) -> bytes:
        """Return the answer to a helper's question, as `credential_helper` passes it on."""
        operation, *lines = question.decode("utf-8", "replace").splitlines() or [""]
        given = dict(line.partition("=")[::2] for line in lines)
        host = given.get("host", "").lower()
        credential = self.credentials.get(host)
        safe = given.get("protocol") == "https" or (given.get("protocol") == "http" and is_loopback(host))
        if operation == "erase" and credential:
            self.refused.add(host)
        if operation != "get" or self._closing:
            return b""
        self.asked.add(host)
        if credential is None or not safe:
            return b"quit=1\n"
        username = self._usernames(host, credential)[self._tried.get(host, 0)]
        return f"username={username}\npassword={credential.token.reveal()}\n".encode()


_lasting: Broker | None = None


def serve_clones(credentials: Mapping[str, Credential | None]) -> None:
    """Answer git in clones with these too, until this process ends: in a notebook that is what runs ``git pull``."""
    global _lasting
    if _lasting is None:
        _lasting = Broker({}).__enter__()
        atexit.register(_lasting.__exit__)
        os.environ[CLONES] = str(_lasting.folder / "socket")
    _lasting.credentials |= {host: found for host, found in credentials.items() if found}


def answer_clone(question: str) -> bytes:
    """Answer git in a clone when no process that made one does: from the token file or the environment.

    A terminal may then ask; in a notebook nobody would hear it, and git would wait for ever.
    """
    host = dict(line.partition("=")[::2] for line in question.splitlines()).get("host", "").lower()
    try:
        credential = secrets.host_token(host, Settings.load())
    except ColabMagicsError as error:
        credential, why = None, str(error)
    else:
        why = f"no token for {host} is found here; run %git_clone on it again, or put one into the token file"
    if credential:
        return Broker({host: credential}).answer(f"get\n{question}".encode())
    if not any(map(os.environ.get, ("JPY_PARENT_PID", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"))):
        return b""
    sys.stderr.write(f"{why}\n")
    return b"quit=1\n"


def clean_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for an installer and the build scripts that it runs: without any known secret.

    Parameters
    ----------
    environ : mapping, optional
        What to start from; by default this process's environment.
    """
    environ = os.environ if environ is None else environ
    tokens = {name for names in hosts.VARIABLES.values() for name in names}
    env = {
        name: value
        for name, value in environ.items()
        if name not in tokens and not name.startswith((*_UNWANTED, NAMED_VARIABLE)) and masking.redact(value) == value
    }
    env["PATH"] = child_path(environ)
    return env


def _folder() -> Path:
    """Make a folder that only this user can enter, with a name short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="colab_magics-"))  # mkdtemp's rights are 0700
    if len(os.fsencode(folder / "socket")) > _LONGEST_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="colab_magics-", dir="/tmp"))
    return folder


def _is_mine(connection: socket.socket) -> bool:
    """Tell whether the other end is this user's: the folder's rights say so already, the kernel says it again."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(peer[4:8], sys.byteorder) == os.getuid()
