"""Known secrets for the length of a test."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from colab_magics.masking import registry
from colab_magics.masking.patterns import encodings, matcher


@functools.lru_cache(maxsize=8)
def ready(secrets: frozenset[str]) -> matcher.Matcher:
    """Make a matcher once for all the examples of a test."""
    return matcher.Matcher(secrets)


@contextlib.contextmanager
def known(*secrets: str) -> Iterator[None]:
    """Let exactly these secrets be registered; afterwards, those from before.

    Small texts, too, are looked through as large ones are, so that what holds for any text is shown for all of that.
    """
    before, sizes = (registry._secrets, registry._temporary), (encodings._SMALL, matcher._LARGE)
    encodings._SMALL = matcher._LARGE = 0
    registry._secrets, registry._temporary, registry._matcher = frozenset(), (), None
    try:
        for secret in secrets:
            registry.register(secret)
        registry._matcher = ready(frozenset(secrets)) if secrets else None
        yield
    finally:
        (registry._secrets, registry._temporary), registry._matcher = before, None
        encodings._SMALL, matcher._LARGE = sizes
