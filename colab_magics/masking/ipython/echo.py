"""The mask over what a kernel passes on to its server's log.

ipykernel replaces file descriptors 1 and 2 by pipes, shows what arrives there, and writes a copy to where the
descriptors led before: the log of the server, a file or a terminal. The copy is written by ``os.write``, so
only the descriptor itself can be exchanged: for a pipe, read by a thread that masks.
"""

from __future__ import annotations

import atexit
import codecs
import os
import select
import threading

from colab_magics.masking.stream import StreamMask

__all__ = ["EchoMask"]

_DELAY = 0.1  # seconds; as for the streams of the session
_CHUNK = 1 << 16


class EchoMask:
    """Put a masking pipe in front of a file descriptor, until removed.

    Parameters
    ----------
    target : int
        An open file descriptor. It keeps its number.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._original = os.dup(target)
        self._read, write = os.pipe()
        os.dup2(write, target)
        os.close(write)
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._pump, name="colab_magics-echo", daemon=True)
        self._thread.start()
        atexit.register(self.remove)

    def remove(self) -> None:
        """Put the original back, and wait a moment until what was on its way has arrived there."""
        atexit.unregister(self.remove)
        if self._pid == os.getpid() and self._thread.is_alive():
            os.dup2(self._original, self._target)
            # Not for ever: a process started meanwhile may keep the pipe open, and the pump serves it.
            self._thread.join(1)

    def _pump(self) -> None:
        mask = StreamMask()
        decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        while True:
            if mask.holding and not select.select([self._read], [], [], _DELAY)[0]:
                self._pass(mask.settle())
                continue
            data = os.read(self._read, _CHUNK)
            self._pass(mask.feed(decode(data, not data)))
            if not data:
                break
        self._pass(mask.flush())
        os.close(self._read)
        os.close(self._original)

    def _pass(self, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        try:
            while data:
                data = data[os.write(self._original, data) :]
        except OSError:
            # The log is gone. The pipe must still be emptied, or the kernel would block on it.
            pass
