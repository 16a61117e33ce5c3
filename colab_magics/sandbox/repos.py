"""Bare git repositories, written with real git and nothing of this machine's git configuration."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from colab_magics.sandbox.lfs import Large, keep, pointer

__all__ = ["Content", "Repo", "Submodules", "git_environment"]

#: Text or bytes of a file, a `Large` one for Git LFS; None deletes it.
Content = str | bytes | None
#: Path -> the repository that stands there, or its (address, commit).
Submodules = Mapping[str, "Repo | tuple[str, str]"]

_AUTHOR = "Sandbox <sandbox@localhost>"
# The first commit's date, in seconds since 1970; each later commit is a second younger. Fixed dates make the
# same content the same commit in every run.
_EPOCH = 1_700_000_000


def git_environment(home: Path) -> dict[str, str]:
    """Return an environment in which git sees no configuration but a repository's own.

    Parameters
    ----------
    home : Path
        An empty folder that stands in for the home folder.
    """
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "XDG_"))}
    return {
        **keep,
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


class Repo:
    """A repository on the sandbox's git host.

    Parameters
    ----------
    name : str
        Owner and name, as in ``acme/secretlib``.
    host : str
        ``ADDRESS:PORT`` of the git host.
    folder : Path
        Where the bare repository is made.
    home : Path
        See `git_environment`.
    branch : str
        The default branch.
    public : bool
        Whether it is served without a token.

    Attributes
    ----------
    spec, url, ssh_url : str
        Its name as ``HOST/OWNER/REPO``, as an ``http`` and as an ``ssh`` address (which nothing answers: it
        is for whoever rewrites it to ``http``).
    """

    def __init__(
        self, name: str, *, host: str, folder: Path, home: Path, branch: str = "main", public: bool = False
    ) -> None:
        self.name = name
        self.folder = folder
        self.branch = branch
        self.public = public
        self.spec = f"{host}/{name}"
        self.url = f"http://{host}/{name}"
        self.ssh_url = f"ssh://git@{host}/{name}"
        self._home = home
        self._clock = itertools.count(_EPOCH)
        self._submodules: dict[str, tuple[str, str]] = {}
        folder.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", f"--initial-branch={branch}", "--template=", ".")
        with (folder / "config").open("a", encoding="utf-8") as config:
            # As on the well-known hosts: partial clones, and any commit by its id.
            config.write("[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n")
            config.write("[http]\n\treceivepack = false\n")

    def __str__(self) -> str:
        return self.spec

    def __repr__(self) -> str:
        return f"Repo({self.spec!r})"

    @property
    def head(self) -> str:
        """The commit at the tip of the default branch (40 hexadecimal digits)."""
        return self._git("rev-parse", "--verify", f"refs/heads/{self.branch}").decode().strip()

    def commit(
        self,
        files: Mapping[str, Content],
        message: str = "Change files",
        *,
        tag: str | None = None,
        branch: str | None = None,
        annotated: bool = False,
        submodules: Submodules | None = None,
    ) -> str:
        """Add a commit.

        Parameters
        ----------
        files : mapping of str to str, bytes or None
            POSIX path -> the file's new content; None deletes it. Other files stay as they are. That of a `Large`
            one is served through Git LFS; a ``.gitattributes`` must say so too.
        message : str
            The commit's message.
        tag : str, optional
            A tag to put on it, or to move to it.
        branch : str, optional
            Where it goes; the default branch if not told. A new branch starts at the default branch's tip.
        annotated : bool
            Whether the tag is an object of its own.
        submodules : mapping of str to Repo or (str, str), optional
            Path -> a repository, which is recorded at its tip with its ``ssh`` address, or an address and a
            commit.

        Returns
        -------
        str
            The commit's id (40 hexadecimal digits).
        """
        branch = branch or self.branch
        changes: dict[str, Content] = {**files}
        if submodules:
            self._submodules.update({_checked(path): _link(found) for path, found in submodules.items()})
            changes[".gitmodules"] = "".join(
                f"[submodule {_quoted(path)}]\n\tpath = {path}\n\turl = {address}\n"
                for path, (address, _) in self._submodules.items()
            )
        who = f"{_AUTHOR} {next(self._clock)} +0000"
        stream = [f"commit refs/heads/{branch}\nmark :1\nauthor {who}\ncommitter {who}\n".encode(), _data(message)]
        if parent := self._tip(branch) or self._tip(self.branch):
            stream.append(f"from {parent}\n".encode())
        for path, content in changes.items():
            if isinstance(content, Large):
                keep(content, self.folder)
            stream.append(_change(path, pointer(content) if isinstance(content, Large) else content))
        stream += [f"M 160000 {self._submodules[path][1]} {path}\n".encode() for path in submodules or {}]
        if tag and annotated:
            stream += [f"tag {tag}\nfrom :1\ntagger {who}\n".encode(), _data(tag)]
        elif tag:
            stream.append(f"reset refs/tags/{tag}\nfrom :1\n\n".encode())
        stream.append(b"get-mark :1\n")
        return self._git("fast-import", "--quiet", "--force", feed=b"".join(stream)).decode().strip()

    def _tip(self, branch: str) -> str | None:
        found = self._git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}").decode().split()
        return found[0] if found else None

    def _git(self, *args: str, feed: bytes = b"") -> bytes:
        done = subprocess.run(
            ["git", *args],
            cwd=self.folder,
            env=git_environment(self._home),
            input=feed,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"git {args[0]} failed in the sandbox: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


def _link(submodule: Repo | tuple[str, str]) -> tuple[str, str]:
    return (submodule.ssh_url, submodule.head) if isinstance(submodule, Repo) else submodule


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _data(content: str | bytes) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return b"data %d\n%b\n" % (len(raw), raw)


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith(("/", '"')) or ".." in parts or "\n" in path:
        raise ValueError(f"not a path inside a repository: {path!r}")
    return path


def _change(path: str, content: Content) -> bytes:
    name = _checked(path)
    if content is None:
        return f"D {name}\n".encode()
    return f"M 100644 inline {name}\n".encode() + _data(content)
