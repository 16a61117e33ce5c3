"""The mask: a secret that was read is never shown, whoever prints it.

`register` makes a text a secret. `redact` and `StreamMask` are the pure core: they mask texts and streams, in
the command line as well as in a notebook. `arm` puts the mask over everything that an IPython kernel sends or
stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from colab_magics.masking.patterns.token_prefixes import find_tokens
from colab_magics.masking.registry import MASK, can_mask, redact, redact_bytes, register
from colab_magics.masking.stream import StreamMask

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["MASK", "StreamMask", "arm", "can_mask", "disarm", "looks_like_token", "redact", "redact_bytes", "register"]


def looks_like_token(text: str) -> str | None:
    """Find a literal in `text` that looks like a token of a known host.

    Parameters
    ----------
    text : str
        A cell's source, a magic's argument.

    Returns
    -------
    str or None
        The first literal with a known prefix (``ghp_``, ``github_pat_``, ``glpat-``, ...) that is long enough to
        be real; prose and code that only mention a prefix give None.
    """
    return next(iter(find_tokens(text)), None)


def arm(shell: InteractiveShell) -> None:
    """Mask everything that `shell` shows or stores from now on.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
        A kernel's shell or a terminal's. Arming it twice changes nothing.
    """
    from colab_magics.masking.ipython import arming

    arming.arm(shell)


def disarm(shell: InteractiveShell) -> None:
    """Take the mask off `shell`, leaving everything as `arm` found it.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
        What was armed; nothing happens if it was not.
    """
    from colab_magics.masking.ipython import arming

    arming.disarm(shell)
