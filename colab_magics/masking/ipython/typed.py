"""Tokens typed into a cell: too late to protect, not too late to say so."""

from __future__ import annotations

import sys

from colab_magics.masking import registry
from colab_magics.masking.patterns import token_prefixes

__all__ = ["TypedTokens"]

_WARNING = (
    "colab_magics: a token was typed into this cell. It is masked in outputs from now on, but it is already "
    "in the notebook itself: revoke it at its host, and keep the new one in a secret that you read by name.\n"
)


class TypedTokens:
    """Watch the source of cells."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._news = False

    def notice(self, source: str) -> None:
        """Mask every token in `source` from now on.

        Parameters
        ----------
        source : str
            A cell as it was typed.
        """
        for token in token_prefixes.find_tokens(source):
            if token not in self._known:
                self._known.add(token)
                self._news = True
                registry.register(token)

    def warn(self) -> None:
        """Say, once for each new token, that it must be revoked. What it is, is not said."""
        if self._news:
            self._news = False
            sys.stderr.write(_WARNING)
            sys.stderr.flush()
