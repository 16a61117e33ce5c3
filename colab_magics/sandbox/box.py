"""The sandbox as its user sees it: one object that makes links and repositories and tells what was asked of it."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from colab_magics.sandbox.api import ApiFault
from colab_magics.sandbox.dropbox import Dropbox
from colab_magics.sandbox.faults import Fault, Preset
from colab_magics.sandbox.githost import GitHost
from colab_magics.sandbox.packages import package
from colab_magics.sandbox.repos import Content, Repo, Submodules
from colab_magics.sandbox.server import LoopbackServer, Request
from colab_magics.sandbox.shares import DROPBOX, FileStyle, FolderStyle, Share
from colab_magics.sandbox.zipformat import Method

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Sandbox"]


class Sandbox:
    """A loopback stand-in for Dropbox and for a private git host.

    `colab_magics.sandbox.start` makes one. It is a context manager; leaving it stops it.

    Parameters
    ----------
    activate : bool
        Whether ``COLAB_MAGICS_DROPBOX_URL`` and ``COLAB_MAGICS_TOKEN_FILE`` of this process point here until
        it stops. Where a proxy is configured, ``NO_PROXY`` then names this machine too.
    username : str
        Who owns repositories that are named without an owner.
    token : str, optional
        The git host's password; a new random one if not given.

    Attributes
    ----------
    root : Path
        Its private folder (mode 0700), gone when it stops.
    dropbox_url : str
        What stands in for ``https://www.dropbox.com``.
    git_host : str
        ``127.0.0.1:PORT`` of the git host.
    token, username : str
        What the git host accepts.
    token_file : Path
        A token file (JSON, mode 0600) with both, and with the secrets of `add_secret`.
    app_key, app_secret : str
        The app that its Dropbox knows, for logging in (`colab-magics login dropbox`) at `dropbox_url`.
    """

    def __init__(self, *, activate: bool = True, username: str = "acme", token: str | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="colab-magics-sandbox-")).resolve()
        self.username = username
        self.token = token or f"sandbox-{secrets.token_hex(20)}"
        self.token_file = self.root / "tokens.json"
        self._secrets: dict[str, str] = {}
        self._login: dict[str, str] = {}
        self._environment: dict[str, tuple[str | None, str]] = {}
        self._process = os.getpid()
        self._stopped = False
        self._home = self.root / "home"
        self._home.mkdir()
        self._log: list[Request] = []
        self._dropbox = Dropbox(self.root / "dropbox", self.root / "uploads")
        self._git = GitHost(self.root / "git", self._home, self.token)
        self._servers = www, content, git = (
            LoopbackServer("www", self._dropbox.website, self._log),
            LoopbackServer("content", self._dropbox.content, self._log),
            LoopbackServer("git", self._git, self._log),
        )
        # Another host than the website's, as at Dropbox: clients treat a redirect there as leaving the site.
        self._dropbox.content_address = f"http://{_other_name()}:{content.port}"
        self.dropbox_url = f"http://127.0.0.1:{www.port}"
        self.git_host = f"127.0.0.1:{git.port}"
        self.app_key, self.app_secret = self._dropbox.api.app_key, self._dropbox.api.app_secret
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
        if self._stopped:
            return
        self._stopped = True
        atexit.unregister(self._stop_at_exit)
        for name, (before, ours) in self._environment.items():
            # What somebody has set since then is not ours to undo.
            if os.environ.get(name) == ours:
                del os.environ[name]
                os.environ.update({} if before is None else {name: before})
        for server in self._servers:
            server.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def folder(self, name: str) -> Path:
        """Return the folder called `name` in the sandbox's Dropbox; it is made if it is not there."""
        path = self._inside(name)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def folder_link(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        password: str | None = None,
        style: FolderStyle = "scl",
        method: Method = "deflate",
        signature: bool = True,
        root_entry: bool = True,
    ) -> str:
        """Share a folder.

        Parameters
        ----------
        folder : str or path
            A bare name, of a folder in the sandbox's Dropbox (see `folder`), or any path. It is read anew for
            each download.
        name : str, optional
            What visitors see; the folder's own name if not given.
        password : str, optional
            Protects the link.
        style : {'scl', 'h', 'sh'}
            ``/scl/fo/<id>/<hash>``, the same with ``h`` for the hash, or the older ``/sh/<id>/<key>``.
        method, signature, root_entry
            How the zip is written; see `colab_magics.sandbox.zipformat.folder_zip`.

        Returns
        -------
        str
            A link on ``https://www.dropbox.com`` that works on `dropbox_url`. Behind its path an item of the
            folder may be named, as Dropbox allows.
        """
        path = self.folder(os.fspath(folder)) if _bare(folder) else Path(folder).absolute()
        if not path.is_dir():
            raise NotADirectoryError(f"no folder to share at {path}")
        share = Share("folder", style, path, name or path.name, password, method, signature, root_entry)
        return self._dropbox.shares.add(share)

    def file_link(
        self,
        path_or_name: str | os.PathLike[str],
        content: bytes | str | None = None,
        *,
        name: str | None = None,
        password: str | None = None,
        style: FileStyle = "scl",
        ranges: bool = True,
        etag: bool = True,
        length: bool = True,
    ) -> str:
        """Share a file.

        Parameters
        ----------
        path_or_name : str or path
            A bare name, of a file at the top of the sandbox's Dropbox, or any path.
        content : bytes or str, optional
            Written to the file first. Without it the file must be there.
        name, password : str, optional
            As for `folder_link`.
        style : {'scl', 's', 'fo'}
            ``/scl/fi/<id>/<name>``, the older ``/s/<id>/<name>``, or ``/scl/fo/<id>/<hash>/<name>``: an item
            in a shared folder.
        ranges, etag, length : bool
            See `file_options`.

        Returns
        -------
        str
            A link on ``https://www.dropbox.com`` that works on `dropbox_url`.
        """
        path = self._inside(os.fspath(path_or_name)) if _bare(path_or_name) else Path(path_or_name).absolute()
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        elif not path.is_file():
            raise FileNotFoundError(f"no file to share at {path}")
        share = Share("file", style, path, name or path.name, password, ranges=ranges, etag=etag, length=length)
        return self._dropbox.shares.add(share)

    def file_options(
        self, link: str, *, ranges: bool | None = None, etag: bool | None = None, length: bool | None = None
    ) -> None:
        """Change how a shared file is served from now on.

        Parameters
        ----------
        link : str
            A file link of this sandbox.
        ranges, etag : bool, optional
            Whether ``Range`` is understood and an ``ETag`` sent.
        length : bool, optional
            Whether ``Content-Length`` is sent; without it the file comes chunked.
        """
        share = self._dropbox.shares.of(link)
        share.ranges = share.ranges if ranges is None else ranges
        share.etag = share.etag if etag is None else etag
        share.length = share.length if length is None else length

    def redirector(self, link: str, *, absolute: bool = False) -> str:
        """Return a short link, ``https://www.dropbox.com/l/<id>``, that redirects (302) to `link`.

        Parameters
        ----------
        link : str
            A share link of this sandbox, or any address.
        absolute : bool
            Whether a share link stays on ``https://www.dropbox.com``, as at Dropbox, instead of being moved
            here: a client that follows it blindly leaves the sandbox.
        """
        parts = urlsplit(link)
        inside = f"{parts.scheme}://{parts.netloc}" == DROPBOX and not absolute
        return self._dropbox.shares.add_redirector(link.removeprefix(DROPBOX) if inside else link)

    def fail(
        self,
        link: str,
        *,
        status: int | None = None,
        page: Preset | None = None,
        cut_after: int | None = None,
        times: int | None = None,
        retry_after: int | str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        content_type: str | None = None,
        delay: float | threading.Event | None = None,
        delay_at: int = 0,
    ) -> None:
        """Let downloads of `link` go wrong. A second call replaces the first.

        Parameters
        ----------
        link : str
            A share link of this sandbox.
        status : int, optional
            The answer's HTTP status, with a page like Dropbox's (or `body`).
        page : {'gone', 'restricted', 'traffic', 'too-large', 'too-many-files', 'login'}, optional
            A page of Dropbox's, with its own status: 404, 403, 429, and 200 for the last three, which come in
            place of the content.
        cut_after : int, optional
            Send so many bytes of the body, then close the connection with no proper end.
        times : int, optional
            How many downloads fail (a GET with ``dl=1`` is one, whatever it is redirected to); all if not
            given. `heal` ends it.
        retry_after : int or str, optional
            The ``Retry-After`` header: seconds, or an HTTP date.
        headers : mapping of str to str, optional
            Further headers of the answer.
        body : bytes or str, optional
            Sent in place of the content.
        content_type : str, optional
            Sent in place of the right one.
        delay : float or threading.Event, optional
            Seconds to hold the answer back, or an event that is waited for. Alone, it is no failure.
        delay_at : int
            The byte of the body before which to wait; 0: before the status.
        """
        extra = dict(headers or {})
        if retry_after is not None:
            extra["Retry-After"] = str(retry_after)
        raw = body.encode() if isinstance(body, str) else body
        self._dropbox.shares.of(link).fault = Fault(
            status, page, cut_after, times, extra, raw, content_type, delay, delay_at
        )

    def heal(self, link: str) -> None:
        """Let downloads of `link` succeed again."""
        self._dropbox.shares.of(link).fault = None

    def expire_downloads(self) -> None:
        """Make every temporary address that a share link has redirected to so far answer 404."""
        self._dropbox.expire()

    def log_in(self) -> None:
        """Put a login to the sandbox's Dropbox account into the token file: its files are those of `folder`."""
        self._login = {"app_key": self.app_key, "refresh_token": self._dropbox.api.grant()}
        self._write_token_file()

    def expire_tokens(self) -> None:
        """Let every access token of the API expire, as each does after four hours."""
        self._dropbox.api.expire()

    def revoke_login(self) -> None:
        """Disconnect the app: no refresh token is good any longer."""
        self._dropbox.api.revoke()

    def limit_listings(self, entries: int) -> None:
        """Let a listing of the API have so many entries at most, and the rest be asked for."""
        self._dropbox.api.page_size = entries

    def fail_api(
        self,
        routes: str,
        *,
        status: int | None = None,
        error: str = "",
        times: int | None = 1,
        skip: int = 0,
        after_work: bool = False,
        retry_after: int | None = None,
        cut_after: int | None = None,
        body: bytes | None = None,
        delay: float | threading.Event | None = None,
        delay_at: int = 0,
    ) -> None:
        """Let calls of the API go wrong, beside what was told before.

        Parameters
        ----------
        routes : str
            Which ones, as a glob: ``files/upload_session/*``, ``oauth2/token``.
        status : int, optional
            The answer's status; 0 closes the connection without an answer.
        error : str, optional
            The error's tags, from the outside in: ``path/insufficient_space``.
        times : int, optional
            How many calls fail; None: all of them, until `heal_api`.
        skip : int, optional
            How many calls succeed before.
        after_work : bool, optional
            What was asked for is done, and only the answer is that of a failure.
        retry_after : int, optional
            Seconds, in the header ``Retry-After``.
        cut_after, body, delay, delay_at
            As for `fail`, of a download; `body` is sent in place of the file's content.
        """
        tags = error.split("/")
        shape: dict[str, object] = {".tag": tags[-1]}
        for tag in reversed(tags[:-1]):
            shape = {".tag": tag, tag: shape}
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status:
            body = json.dumps({"error_summary": f"{error}/.", "error": shape}).encode()
        answer = Fault(status, None, cut_after, times, headers, body, None, delay, delay_at)
        self._dropbox.api.faults.append(ApiFault(routes, answer, skip, after_work))

    def heal_api(self) -> None:
        """Let calls of the API succeed again."""
        self._dropbox.api.faults.clear()

    def private_repo(
        self,
        name: str,
        files: Mapping[str, Content] | None = None,
        *,
        version: str = "1.0.0",
        code: str | None = None,
        requires: Iterable[str] = (),
        tag: str | None = None,
        branch: str = "main",
        extras: Mapping[str, Iterable[str]] | None = None,
        submodules: Submodules | None = None,
        public: bool = False,
        annotated: bool = False,
    ) -> Repo:
        """Make a git repository with one commit, served over HTTP to whoever has the token.

        Parameters
        ----------
        name : str
            Owner and name, as in ``acme/secretlib``.
        files : mapping of str to str or bytes, optional
            POSIX path -> content. By default a Python package called like the repository:
            ``package(name, version=..., code=..., requires=..., extras=...)``.
        version, code, requires, extras
            See `colab_magics.sandbox.package`.
        tag : str, optional
            A tag on the commit; `annotated` makes it an object of its own.
        branch : str
            The default branch.
        submodules : mapping of str to Repo or (str, str), optional
            See `Repo.commit`.
        public : bool
            Whether it is served without a token.

        Returns
        -------
        Repo
        """
        owner, _, short = name.rpartition("/")
        if not owner or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"a repository is called OWNER/NAME, not {name!r}")
        if name in self._git.repos:
            raise ValueError(f"there is a repository {name} already; add to it with its commit()")
        if files is None:
            files = package(short, version=version, code=code or "", requires=requires, extras=extras)
        folder = self.root / "git" / f"{name}.git"
        repo = Repo(name, host=self.git_host, folder=folder, home=self._home, branch=branch, public=public)
        repo.commit(files, f"Add {short}", tag=tag, annotated=annotated, submodules=submodules)
        self._git.repos[name] = repo
        return repo

    def require_username(self, username: str | None) -> None:
        """Accept the token with this user name only (as GitLab does with ``oauth2``); None: with any."""
        self._git.username = username

    def deny(self, repo: Repo | str, *, denied: bool = True) -> None:
        """Answer 403 for a repository, as a host does when a good token has no access to it.

        Parameters
        ----------
        repo : Repo or str
            It, or its name as in ``acme/secretlib``.
        denied : bool
            False takes it back.
        """
        name = repo.name if isinstance(repo, Repo) else repo
        (self._git.denied.add if denied else self._git.denied.discard)(name)

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in the order of arrival: a copy."""
        return [replace(request, headers=dict(request.headers)) for request in list(self._log)]

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._log.clear()

    def add_secret(self, name: str, value: str) -> None:
        """Put a secret into the token file, to be found as ``secret:NAME``.

        Parameters
        ----------
        name, value : str
            Its name, and what it stands for.
        """
        self._secrets[name] = value
        self._write_token_file()

    def _stop_at_exit(self) -> None:
        # A forked child runs this too, and must not remove its parent's folder.
        if os.getpid() == self._process:
            self.stop()

    def _activate(self) -> None:
        ours = {"COLAB_MAGICS_DROPBOX_URL": self.dropbox_url, "COLAB_MAGICS_TOKEN_FILE": str(self.token_file)}
        if any(name.lower() in ("http_proxy", "all_proxy") for name in os.environ):
            # No proxy can reach this machine's loopback.
            for name in ("NO_PROXY", "no_proxy"):
                ours[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))
        self._environment = {name: (os.environ.get(name), value) for name, value in ours.items()}
        os.environ.update(ours)

    def _write_token_file(self) -> None:
        content: dict[str, Any] = {
            self.git_host: {"access_token": self.token, "username": self.username},
            "secrets": self._secrets,
            **({"dropbox": self._login} if self._login else {}),
        }
        # mkstemp makes it 0600; the rename keeps readers from ever seeing half of it.
        handle, path = tempfile.mkstemp(dir=self.root)
        with os.fdopen(handle, "w", encoding="utf-8") as target:
            json.dump(content, target, indent=2)
        os.replace(path, self.token_file)

    def _inside(self, name: str) -> Path:
        if not _bare(name) or name in ("", ".", ".."):
            raise ValueError(f"a name in the sandbox's Dropbox has no separator: {name!r}")
        return self.root / "dropbox" / name


def _bare(path: str | os.PathLike[str]) -> bool:
    return isinstance(path, str) and "/" not in path and os.sep not in path


def _other_name() -> str:
    try:
        return "localhost" if socket.gethostbyname("localhost") == "127.0.0.1" else "127.0.0.1"
    except OSError:
        return "127.0.0.1"
