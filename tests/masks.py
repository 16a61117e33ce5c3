"""Known secrets for the length of a test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from colab_magics.masking import registry


@contextlib.contextmanager
def known(*secrets: str) -> Iterator[None]:
    """Let exactly these secrets be registered; afterwards, those from before."""
    before = registry._secrets, registry._temporary
    registry._secrets, registry._temporary, registry._matcher = frozenset(), (), None
    try:
        for secret in secrets:
            registry.register(secret)
        yield
    finally:
        (registry._secrets, registry._temporary), registry._matcher = before, None
