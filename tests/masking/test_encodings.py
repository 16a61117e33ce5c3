"""masking/patterns/encodings.py: how a secret can be spelled."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from colab_magics.masking.patterns import encodings

visible = st.text(min_size=8).filter(lambda s: encodings.visible(s) >= 8)
encodable = visible.filter(lambda s: s.isprintable())


def spelled(secret: str, text: str) -> bool:
    squeezed = encodings.squeeze(text.encode("utf-8", "surrogatepass"))
    views = squeezed, encodings.unescape(squeezed)
    return any(encoding in view for encoding in encodings.encodings(secret) for view in views)


@given(encodable, st.binary(), st.binary())
def test_base64_is_known_at_every_alignment(secret: str, before: bytes, after: bytes) -> None:
    """Whatever stands around the secret, its base64 holds an encoding; both alphabets, wrapped or not."""
    data = before + secret.encode() + after
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        assert spelled(secret, encode(data).decode())


@given(encodable)
def test_the_usual_escapes_are_known(secret: str) -> None:
    """JSON, repr, URL quoting and hexadecimal each hold an encoding, also one inside another."""
    for text in (
        json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret), ascii(secret), quote(secret),
        quote(secret, safe=""), secret.encode().hex(), secret.encode().hex(":"), secret.encode().hex("-"),
        repr(secret.encode()), json.dumps(json.dumps(secret)), repr(json.dumps(secret)), json.dumps(repr(secret)),
    ):  # fmt: skip
        assert spelled(secret, text)


@given(visible)
def test_no_encoding_is_short(secret: str) -> None:
    """No encoding is so short that it would occur by chance."""
    assert encodings.encodings(secret)
    assert min(map(len, encodings.encodings(secret))) >= 8


def test_only_random_words_are_token_like() -> None:
    """Pieces of a link, a passphrase or a PEM block are ordinary text and are not masked by themselves."""
    assert encodings.is_random("ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF")
    assert not encodings.is_random("https://www.dropbox.com/scl/fo/abcdefghijkl/h?rlkey=0123456789abcdef")
    assert not encodings.is_random("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert not encodings.is_random("correct horse battery staple and more of it")
    assert not encodings.is_random("a" * 40)
