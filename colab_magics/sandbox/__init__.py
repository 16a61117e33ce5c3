r"""A loopback stand-in for Dropbox and for a private git host: a first try, a demo and tests with no account.

>>> from colab_magics import sandbox
>>> with sandbox.start() as box:
...     data = box.folder("dataset")
...     _ = (data / "a.csv").write_text("x,y\\n1,2\n")
...     link = box.folder_link(data)
...     repo = box.private_repo("acme/secretlib", code="def answer(): return 42\n", tag="v1.0")

Nothing of it leaves this machine: it listens on 127.0.0.1 only and keeps its files in a private temporary
folder. It needs the ``git`` program for repositories, and nothing beyond Python for the rest.
"""

from __future__ import annotations

from colab_magics.sandbox.box import Sandbox
from colab_magics.sandbox.lfs import Large
from colab_magics.sandbox.packages import package
from colab_magics.sandbox.repos import Repo
from colab_magics.sandbox.sample import serve
from colab_magics.sandbox.server import Request

__all__ = ["Large", "Repo", "Request", "Sandbox", "package", "serve", "start"]


def start(*, activate: bool = True, username: str = "acme", token: str | None = None) -> Sandbox:
    """Start a sandbox.

    Parameters
    ----------
    activate : bool
        Whether to point this process, and the children it starts from now on, at the sandbox: sets
        ``COLAB_MAGICS_DROPBOX_URL`` and ``COLAB_MAGICS_TOKEN_FILE`` until the sandbox stops.
    username : str
        Who owns repositories that are named without an owner.
    token : str, optional
        The git host's token; a new random one if not given.

    Returns
    -------
    Sandbox
        Running. Use it in a ``with`` statement or call its ``stop()``; at exit it stops by itself.
    """
    return Sandbox(activate=activate, username=username, token=token)
