"""Bring Dropbox folders, private packages and a layout to a fresh Colab, Kaggle or server runtime.

``%load_ext colab_magics`` in a notebook, ``colab-magics`` in a shell, `colab_magics.core` in Python.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

from colab_magics.errors import (
    ArchiveError,
    ColabMagicsError,
    InstallError,
    LayoutError,
    LinkError,
    PlanError,
    StepError,
    TokenError,
    TransferError,
)

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from colab_magics import core

__all__ = [
    "ArchiveError",
    "ColabMagicsError",
    "InstallError",
    "LayoutError",
    "LinkError",
    "PlanError",
    "StepError",
    "TokenError",
    "TransferError",
    "__version__",
    "load_ipython_extension",
    "login",
    "secret",
    "unload_ipython_extension",
]

__version__ = "0.1.0"


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Register the magics; this is what ``%load_ext colab_magics`` calls."""
    from colab_magics import magics  # here: the command line and the core do without IPython

    magics.load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Remove the magics; this is what ``%unload_ext colab_magics`` calls."""
    from colab_magics import magics

    magics.unload(ipython)


def secret(name: str) -> str:
    """Return a secret's value, for a user's own code; it is masked from then on.

    Parameters
    ----------
    name : str
        Its name. Looked for in the token file, the environment, Colab's or Kaggle's secrets, and asked for at a
        hidden prompt, in this order.

    Returns
    -------
    str

    Raises
    ------
    TokenError
        When it is nowhere; lists the places that were looked at.

    Examples
    --------
    >>> import colab_magics
    >>> key = colab_magics.secret("WANDB_API_KEY")  # doctest: +SKIP
    """
    from colab_magics import core  # here: it asks this module for the errors

    return core.named(name, _settings()).reveal()


def login(service: str = "dropbox") -> None:
    """Log in to Dropbox from a notebook's cell, as ``colab-magics login dropbox`` does in a terminal.

    What to do is printed, in four steps at most; the code is pasted at a hidden prompt, and what allows the login is
    written to the token file, never into the notebook.

    Parameters
    ----------
    service : {'dropbox'}, optional
        Where to log in.

    Examples
    --------
    >>> import colab_magics
    >>> colab_magics.login("dropbox")  # doctest: +SKIP
    """
    from colab_magics import core
    from colab_magics.display import Lines, ask_hidden

    settings = _settings()
    if settings.ask is None and "ipykernel" in sys.modules:  # whose getpass asks the notebook's page
        settings = dataclasses.replace(settings, ask=ask_hidden)
    core.login(service, settings=settings, progress=Lines(live=False))


def _settings() -> core.Settings:
    """Return the configuration of the loaded extension, or of the environment when none is loaded."""
    from colab_magics import core

    magics = sys.modules.get("colab_magics.magics")
    settings: core.Settings = magics.loaded_settings() if magics else core.Settings.load()
    return settings
