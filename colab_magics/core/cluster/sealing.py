"""Seals what one process sends to another so that nobody on the way can read it, the scheduler included.

X25519 (RFC 7748) with a key of one use on each side, HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

__all__ = ["can_seal", "new_key", "opened", "public", "seal"]

_KEY, _NONCE = 32, 12  # bytes


def can_seal() -> bool:
    """Tell whether this Python has the package that does it."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        return False
    return True


def new_key() -> X25519PrivateKey:
    """Make a key that only this process has."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.generate()


def public(key: X25519PrivateKey) -> str:
    """Return what others seal for it with, as hexadecimal digits."""
    data: bytes = key.public_key().public_bytes_raw()
    return data.hex()


def seal(text: str, to: str) -> str:
    """Seal a text for whoever has the key of which `to` is the public part; hexadecimal digits."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    mine, theirs = new_key(), bytes.fromhex(to)
    sender = bytes.fromhex(public(mine))
    key = _derived(mine.exchange(X25519PublicKey.from_public_bytes(theirs)), sender + theirs)
    nonce = os.urandom(_NONCE)
    sealed: bytes = sender + nonce + ChaCha20Poly1305(key).encrypt(nonce, text.encode(), None)
    return sealed.hex()


def opened(sealed: str, key: X25519PrivateKey) -> str:
    """Open what was sealed for a key.

    Raises
    ------
    ValueError
        When it was sealed for another one, or was changed on the way.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    data = bytes.fromhex(sealed)
    sender, nonce, text = data[:_KEY], data[_KEY : _KEY + _NONCE], data[_KEY + _NONCE :]
    shared = key.exchange(X25519PublicKey.from_public_bytes(sender))
    cipher = ChaCha20Poly1305(_derived(shared, sender + bytes.fromhex(public(key))))
    try:
        plain: bytes = cipher.decrypt(nonce, text, None)
        return plain.decode()
    except InvalidTag:
        raise ValueError("it was sealed for another key, or changed on the way") from None


def _derived(shared: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key: bytes = HKDF(SHA256(), _KEY, None, b"colab_magics " + info).derive(shared)
    return key
