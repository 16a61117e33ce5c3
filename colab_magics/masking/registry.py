"""Which secrets are known, and the mask over a whole text."""

from __future__ import annotations

import os
import threading

from colab_magics.masking.patterns import encodings
from colab_magics.masking.patterns.matcher import Matcher

__all__ = ["MASK", "matcher", "redact", "redact_bytes", "register", "withheld"]

MASK = "***"
TEMPORARY = 64  # temporary secrets that are remembered; a sync has a few

_lock = threading.Lock()
_secrets: frozenset[str] = frozenset()
_temporary: tuple[str, ...] = ()  # oldest first; none of them is in _secrets
_matcher: Matcher | None = None  # made anew, when next needed, after a registration
_lasting: Matcher | None = None  # one for _secrets, or for some of them: what the next one begins with


def can_mask(value: str) -> bool:
    """Tell whether a text is long enough to be a secret; see `register`."""
    return encodings.visible(value) >= encodings.MIN_LENGTH


def register(value: str, *, temporary: bool = False) -> None:
    """Mask `value` from now on, wherever this process shows it.

    Parameters
    ----------
    value : str
        The secret. Registering it again changes nothing.
    temporary : bool
        Whether it soon stops being worth anything: a download address. Of these only the newest `TEMPORARY` are
        remembered, so that a long session, with many downloads, is not made slower by each. All others are
        remembered for ever.

    Raises
    ------
    ValueError
        If it has fewer than 8 characters (white space, quotes, backslashes, commas, `|` and `#` not counted):
        masking so short a text would destroy ordinary output. The message does not contain it.
    """
    global _secrets, _temporary, _matcher
    if not can_mask(value):
        raise ValueError(
            f"a secret shorter than {encodings.MIN_LENGTH} characters cannot be masked: "
            "it would occur by chance in ordinary output; use a longer one"
        )
    if value in _secrets:
        return
    with _lock:
        if value not in _temporary:
            _matcher = None
        others = tuple(other for other in _temporary if other != value)
        if temporary:
            _temporary = (*others, value)[-TEMPORARY:]
        else:
            # In this order: whoever asks for a matcher without the lock must find it in one of them.
            _secrets |= {value}
            _temporary = others


def matcher() -> Matcher | None:
    """Return the matcher for all secrets known now, or None when there are none."""
    global _matcher, _lasting
    current = _matcher
    if current is None and (_secrets or _temporary):
        with _lock:
            current = _matcher
            if current is None:
                if _lasting is None or _lasting.secrets != _secrets:
                    _lasting = Matcher(_secrets, _lasting)
                current = _matcher = Matcher(_secrets.union(_temporary), _lasting) if _temporary else _lasting
    return current


def withheld(error: BaseException) -> str:
    """Say that a text is not shown because masking it failed; nothing of the text, or of the error's."""
    return f"[text withheld: the mask of colab_magics failed with {type(error).__name__}]"


def redact(text: str) -> str:
    """Mask every encoding of every known secret.

    Parameters
    ----------
    text : str
        Anything that may be shown.

    Returns
    -------
    str
        `text` with each secret replaced by `MASK`. If masking itself fails, a sentence that says so, and
        nothing of `text`.
    """
    try:
        current = matcher()
        if current is None or len(text) < encodings.MIN_LENGTH:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        spans = current.spans(raw)
        if not spans:
            return text
        out, at = [], 0
        for start, end in spans:
            out += [raw[at:start], MASK.encode()]
            at = end
        return b"".join([*out, raw[at:]]).decode("utf-8", "surrogatepass")
    except Exception as error:  # noqa: BLE001 - a mask that fails must not let the text through
        return withheld(error)


def redact_bytes(data: bytes) -> bytes:
    """Mask every encoding of every known secret in binary data, keeping its length.

    Parameters
    ----------
    data : bytes
        Text of unknown encoding, an array, a picture: offsets in it may matter to whoever reads it.

    Returns
    -------
    bytes
        As many bytes as `data`, each secret overwritten by asterisks. All of it is, if masking itself fails.
    """
    try:
        current = matcher()
        spans = current.spans(data) if current else []
        if not spans:
            return data
        out = bytearray(data)
        for start, end in spans:
            out[start:end] = b"*" * (end - start)
        return bytes(out)
    except Exception:  # noqa: BLE001 - a mask that fails must not let the data through
        return b"*" * len(data)


def _after_fork() -> None:
    # A thread that does not exist in the child may have held the lock.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
