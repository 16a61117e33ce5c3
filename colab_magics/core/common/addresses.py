"""What an address says of where it leads (pure)."""

from __future__ import annotations

import re

__all__ = ["DROPBOX", "is_loopback"]

#: Where Dropbox's share links live.
DROPBOX = "https://www.dropbox.com"


def is_loopback(host: str | None) -> bool:
    """Tell whether `host`, with or without a port, can only be this machine."""
    return re.fullmatch(r"(localhost|::1|127(\.\d+){3})(:\d+)?", host or "") is not None
