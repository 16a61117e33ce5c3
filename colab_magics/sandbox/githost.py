"""A private git host: real ``git http-backend`` (smart HTTP, protocol v2) behind HTTP Basic authentication."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import subprocess
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import cast

from colab_magics.sandbox import lfs
from colab_magics.sandbox.repos import Repo, git_environment
from colab_magics.sandbox.server import Exchange

__all__ = ["GitHost"]

_BLOCK = 64 << 10
_PATH = re.compile(
    r"/(.+?)(?:\.git)?(?:/(info/refs|git-upload-pack|git-receive-pack|info/lfs/objects/(?:batch|[0-9a-f]{64})))?/?"
)
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="sandbox"'}


class GitHost:
    """Answers git clients; read-only.

    Parameters
    ----------
    folder : Path
        Where the repositories are, each at ``OWNER/NAME.git``.
    home : Path
        An empty folder that stands in for git's home folder.
    token : str
        The password of every user. Any user name goes with it until `username` is set.
    """

    def __init__(self, folder: Path, home: Path, token: str) -> None:
        self.username: str | None = None
        self.repos: dict[str, Repo] = {}
        self.denied: set[str] = set()
        self._folder = folder
        self._home = home
        self._token = token

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        found = _PATH.fullmatch(exchange.url_path)
        name, action = (found[1], found[2]) if found else ("", None)
        repo = self.repos.get(name)
        # A stranger must not learn which private repositories exist: unknown names ask for a token too.
        if not (repo and repo.public) and not self._authorised(exchange):
            _say(exchange, 401, "Authentication failed", _CHALLENGE)
        elif name in self.denied:
            _say(exchange, 403, "This token has no access to this repository")
        elif repo is None:
            _say(exchange, 404, "Repository not found")
        elif action == "git-receive-pack" or exchange.query.get("service") == ["git-receive-pack"]:
            _say(exchange, 403, "The sandbox is read-only")
        elif action is None:
            _say(exchange, 200, f"This is {name}. Clone it with git.")
        elif action == "info/lfs/objects/batch":
            address = f"http://{exchange.headers.get('Host')}/{name}.git/info/lfs/objects"
            lfs.answer_batch(exchange, repo.folder, address)
        elif action.startswith("info/lfs/"):
            lfs.answer_download(exchange, repo.folder, action.rpartition("/")[2])
        else:
            self._run(exchange, f"/{name}.git/{action}")

    def _authorised(self, exchange: Exchange) -> bool:
        scheme, _, value = exchange.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            username, _, password = base64.b64decode(value, validate=True).partition(b":")
        except binascii.Error:
            return False
        if self.username is not None and username != self.username.encode():
            return False
        return hmac.compare_digest(password, self._token.encode())

    def _run(self, exchange: Exchange, path: str) -> None:
        headers = exchange.headers
        environment = {
            **git_environment(self._home),
            "GIT_PROJECT_ROOT": str(self._folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REQUEST_METHOD": "GET" if exchange.command == "HEAD" else exchange.command,
            "PATH_INFO": path,
            "QUERY_STRING": exchange.path.partition("?")[2],
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(exchange.body)),
            "HTTP_CONTENT_ENCODING": headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": headers.get("Git-Protocol", ""),
            "GIT_PROTOCOL": headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        # A file, not a pipe: git may start to answer before it has read everything.
        with tempfile.TemporaryFile(dir=self._home) as body:
            body.write(exchange.body)
            body.seek(0)
            process = subprocess.Popen(
                ["git", "http-backend"],
                env=environment,
                stdin=body,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        output = cast("BufferedReader", process.stdout)
        try:
            status, answer = _read_headers(output)
            exchange.stream(status, answer, _blocks(output))
        finally:
            # If the client has hung up there is nobody left to pack for.
            process.kill()
            output.close()
            process.wait()


def _read_headers(output: BufferedReader) -> tuple[int, dict[str, str]]:
    """Read the head of a CGI answer (RFC 3875, 6.3)."""
    status = 200
    headers: dict[str, str] = {}
    while line := output.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    return (status, headers) if headers else (500, {"Content-Type": "text/plain"})


def _blocks(output: BufferedReader) -> Iterator[bytes]:
    while block := output.read1(_BLOCK):
        yield block


def _say(exchange: Exchange, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    # Plain text: git shows it to its user behind "remote:".
    exchange.reply(status, f"{text}\n", "text/plain; charset=utf-8", headers)
