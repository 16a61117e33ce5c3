"""Mask text that arrives in pieces, wherever it was cut (pure)."""

from __future__ import annotations

import operator

from colab_magics.masking import registry
from colab_magics.masking.registry import MASK, withheld

__all__ = ["StreamMask"]

_MASK = MASK.encode()
_BLOCK = 1 << 18  # characters; larger texts leave the processor's cache, and get new memory from the system each time


class StreamMask:
    """The mask of one stream, fed piece by piece.

    What `feed` and `flush` return, put together, is what `redact` makes of the whole text, except that up to
    ``patience - 1`` leading characters of a secret may stand before its mask: holding back a single character
    whenever it might begin a secret would delay the end of almost every line.

    Not thread-safe: one stream, one owner.

    Parameters
    ----------
    patience : int
        How many characters (at least) of a possible secret are held back until more text decides. 1 makes the
        result exactly that of `redact`.
    """

    def __init__(self, patience: int = 4) -> None:
        self._patience = patience
        self._pending = b""  # from where a secret may have begun
        self._done = 0  # how many bytes of it were given out
        self._masked = False  # whether the last of those were given out as a mask
        self._harmless = True  # whether it tells little if it is shown as it is

    @property
    def holding(self) -> bool:
        """Whether some text was fed and not yet given out."""
        return self._done < len(self._pending)

    @property
    def idle(self) -> bool:
        """Whether nothing fed so far matters to what comes."""
        return not self._pending

    def feed(self, text: str) -> str:
        """Take the next piece.

        Parameters
        ----------
        text : str
            It may start and end inside a secret.

        Returns
        -------
        str
            What can be shown for certain: maybe nothing, maybe also what was held back before.
        """
        try:
            if len(text) <= _BLOCK:
                return self._feed(text)
            blocks = [text[at : at + _BLOCK] for at in range(0, len(text), _BLOCK)]
            shown = [self._feed(block) for block in blocks]
            return text if all(map(operator.is_, shown, blocks)) else "".join(shown)
        except Exception as error:  # noqa: BLE001 - a mask that fails must not let the text through
            self._forget()
            return withheld(error)

    def flush(self) -> str:
        """End the stream.

        Returns
        -------
        str
            What was held back.
        """
        try:
            return self._give_rest()
        except Exception as error:  # noqa: BLE001 - a mask that fails must not let the text through
            return withheld(error)
        finally:
            self._forget()

    def settle(self) -> str:
        """Give out what is held back because something waits for it; the stream goes on.

        Returns
        -------
        str
            A short beginning of a secret as it is; a longer one masked, since the rest may still come.
        """
        if not self.holding:
            return ""
        try:
            if self._harmless:
                return self._give_rest()
        except Exception as error:  # noqa: BLE001 - a mask that fails must not let the text through
            self._forget()
            return withheld(error)
        self._done = len(self._pending)
        shown, self._masked = ("" if self._masked else MASK), True
        return shown

    def _give_rest(self) -> str:
        # The rest may hold whole secrets: after a beginning of one that never went on.
        matcher = registry.matcher()
        spans = matcher.spans(self._pending) if matcher else []
        shown = self._give(self._pending, spans, len(self._pending))
        self._done = len(self._pending)
        return shown

    def _forget(self) -> None:
        self._pending, self._done, self._masked, self._harmless = b"", 0, False, True

    def _feed(self, text: str) -> str:
        matcher = registry.matcher()
        if matcher is None:
            return self.flush() + text if self._pending else text
        raw = self._pending + text.encode("utf-8", "surrogatepass")
        spans, end = matcher.scan(raw)
        hold = end.start if end.size >= self._patience else len(raw)
        self._harmless = end.harmless
        if not spans and not self.holding and hold == len(raw):  # most text, so not put together anew
            self._pending, self._done, self._masked = raw[end.context :], len(raw) - end.context, False
            return text
        shown = self._give(raw, spans, hold)
        self._pending, self._done = raw[end.context :], self._done - end.context
        return shown

    def _give(self, raw: bytes, spans: list[tuple[int, int]], hold: int) -> str:
        """Return what was not yet given out of `raw`, masked, up to `hold` or the end of a span over it."""
        out, at = [], self._done
        for start, end in spans:
            if start > hold:
                break
            if end <= at:
                continue
            out.append(raw[at:start])
            # One mask for one secret: it may have begun in what was already given out as a mask.
            if start >= self._done or not self._masked:
                out.append(_MASK)
            at = end
        out.append(raw[at:hold])
        given = max(at, hold)
        if given > self._done:
            self._masked = given == at
        self._done = given
        return b"".join(out).decode("utf-8", "surrogatepass")
