"""Dropbox's hash of a content."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_magics.core.dropbox import content_hash
from colab_magics.core.dropbox.content_hash import BLOCK, ContentHash, block_digests

#: The example of Dropbox's page is a picture; these are counted by hand from its description.
EMPTY = hashlib.sha256(b"").hexdigest()


def by_hand(data: bytes) -> str:
    blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 5])
def test_it_is_that_of_its_blocks(size: int) -> None:
    """At each size around a block's end, in one piece and in odd ones."""
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    made = ContentHash()
    for start in range(0, size, 999_983):
        made.update(data[start : start + 999_983])
    assert made.hexdigest() == by_hand(data) == hashlib.sha256(block_digests(data)).hexdigest()
    assert made.hexdigest() == made.hexdigest(), "it can be asked twice"
    if not size:
        assert made.hexdigest() == EMPTY


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_how_it_is_cut_makes_no_difference(pieces: list[bytes]) -> None:
    """Whatever the pieces, also where blocks are small."""
    before, content_hash.BLOCK = content_hash.BLOCK, 16
    try:
        made = ContentHash()
        for piece in pieces:
            made.update(piece)
        data = b"".join(pieces)
        blocks = [hashlib.sha256(data[start : start + 16]).digest() for start in range(0, len(data), 16)]
        assert made.hexdigest() == hashlib.sha256(b"".join(blocks)).hexdigest()
    finally:
        content_hash.BLOCK = before
