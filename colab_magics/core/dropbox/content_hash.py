"""Dropbox's hash of a content (https://www.dropbox.com/developers/reference/content-hash)."""

from __future__ import annotations

import hashlib

__all__ = ["BLOCK", "ContentHash", "block_digests"]

#: Bytes of a block.
BLOCK = 4 << 20


class ContentHash:
    """The SHA-256 of the SHA-256 digests of a content's blocks, counted while the content comes.

    Examples
    --------
    >>> made = ContentHash()
    >>> made.update(b"abc")
    >>> made.hexdigest()
    '4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358'
    """

    def __init__(self) -> None:
        self._digests, self._block, self._filled = bytearray(), hashlib.sha256(), 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            head = view[: BLOCK - self._filled]
            self._block.update(head)
            self._filled += len(head)
            view = view[len(head) :]
            if self._filled == BLOCK:
                self._digests += self._block.digest()
                self._block, self._filled = hashlib.sha256(), 0

    def join(self, other: ContentHash) -> None:
        """Take bytes that follow and were taken by another already; whole blocks stand before them."""
        if self._filled:
            raise ValueError("a block of a content ends amid two others")
        self._digests += other._digests
        self._block, self._filled = other._block.copy(), other._filled

    def hexdigest(self) -> str:
        """Return it, in 64 hexadecimal digits."""
        whole = hashlib.sha256(self._digests)
        if self._filled:
            whole.update(self._block.digest())
        return whole.hexdigest()


def block_digests(data: bytes) -> bytes:
    """Return the digests of a content's blocks, of which the SHA-256 is its hash."""
    view = memoryview(data)
    return b"".join(hashlib.sha256(view[start : start + BLOCK]).digest() for start in range(0, len(data), BLOCK))
