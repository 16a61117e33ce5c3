"""The mask over a message's content: dicts and lists of strings, numbers and bytes (pure)."""

from __future__ import annotations

import base64
import binascii
from pathlib import PurePath
from typing import Any

from colab_magics.masking import registry
from colab_magics.masking.patterns import encodings

__all__ = ["blank_tree", "redact_tree"]

# Words that give a message its shape. Everything else of a secret's length goes when the mask fails.
_KEYWORDS = frozenset(
    """
    status execution_state execution_count name text data metadata transient display_id ename evalue traceback
    payload user_expressions comm_id target_name target_module method state buffer_paths matches cursor_start
    cursor_end found history prompt password text/plain text/html application/json wait code restart starting
    complete incomplete aborted display_data execute_result
    """.split()  # noqa: SIM905 - forty quoted words read worse
)


def redact_tree(value: Any, kind: str = "") -> Any:
    """Mask every string in a JSON-like value.

    Parameters
    ----------
    value : object
        What a message holds. It is not changed.
    kind : str
        The key it stands under, which for display data is its MIME type.

    Returns
    -------
    object
        The same shape, with every known secret masked in strings, keys, numbers and bytes.
    """
    if isinstance(value, str):
        return _redact_picture(value) if kind.startswith("image/") else registry.redact(value)
    if isinstance(value, dict):
        return {
            registry.redact(key) if isinstance(key, str) else key: redact_tree(item, str(key))
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact_tree(item, kind) for item in value]
    if isinstance(value, PurePath):
        return type(value)(registry.redact(str(value)))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return registry.redact_bytes(bytes(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        written = str(value)
        masked = registry.redact(written)
        return value if masked == written else masked
    return value


def _redact_picture(value: str) -> str:
    # A mask in the middle of base64 would leave a picture that cannot be decoded; its bytes can be masked.
    try:
        decoded = base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return registry.redact(value)
    return registry.redact(base64.b64encode(registry.redact_bytes(decoded)).decode())


def blank_tree(value: Any, notice: str) -> Any:
    """Replace every string that could hold a secret.

    Parameters
    ----------
    value : object
        Content that could not be masked.
    notice : str
        What stands in place of each string.

    Returns
    -------
    object
        The same shape, so that whoever receives it can still tell a result from an error.
    """
    if isinstance(value, str):
        return value if len(value) < encodings.MIN_LENGTH or value in _KEYWORDS else notice
    if isinstance(value, dict):
        return {blank_tree(key, notice): blank_tree(item, notice) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [blank_tree(item, notice) for item in value]
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 10**7):
        return value
    return notice
