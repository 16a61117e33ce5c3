"""The mask over ``sys.stdout`` and ``sys.stderr``, for IPython in a terminal.

Print, results, tracebacks and warnings pass here. What writes to the file descriptor itself does not: ``!cmd``,
`os.write`, a subprocess that inherits the terminal.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import Any, TextIO

from colab_magics.masking.stream import StreamMask

__all__ = ["TerminalMask"]

_DELAY = 0.1  # seconds; as for the streams of a kernel


class _MaskedStream:
    """A text stream that masks what is written to it, and is the original stream in all else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._mask = StreamMask()
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)

    def write(self, text: str) -> int:
        """Write text, masked; return the length of what came in, as files do."""
        with self._lock:
            self._stream.write(self._mask.feed(text))
            if self._mask.holding and self._timer is None:
                self._timer = threading.Timer(_DELAY, self._expire)
                self._timer.daemon = True
                self._timer.start()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write out what is held back: somebody is about to wait for it."""
        with self._lock:
            self._stream.write(self._mask.settle())
            self._stream.flush()

    def _expire(self) -> None:
        with self._lock:
            self._timer = None
            self.flush()


class TerminalMask:
    """Put masking streams in the place of ``sys.stdout`` and ``sys.stderr``, until removed."""

    _NAMES = ("stdout", "stderr")

    def __init__(self) -> None:
        self._originals: dict[str, Any] = {}
        self._ours: dict[str, _MaskedStream] = {}

    def install(self) -> None:
        """Take over the streams."""
        for name in self._NAMES:
            self._originals[name] = getattr(sys, name)
            self._ours[name] = _MaskedStream(self._originals[name])
            setattr(sys, name, self._ours[name])

    def remove(self) -> None:
        """Give the streams back, unless somebody else has replaced ours."""
        for name in self._NAMES:
            self._ours[name].flush()
            if getattr(sys, name) is self._ours[name]:
                setattr(sys, name, self._originals[name])
