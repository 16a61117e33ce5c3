"""Find every encoding of many secrets in a large text, in linear time (pure).

The usual tools are too slow here: Aho-Corasick in Python costs a dictionary look-up a byte, and a regular
expression with a thousand alternatives tries them at each byte. But no encoding is short. If the shortest has L
bytes, any occurrence holds a whole 4-byte gram that starts at a multiple of L - 3, so it is enough to look at
every (L - 3)th position: `set.isdisjoint` over a strided memoryview does that at C speed. A hit names the
encodings that hold the gram and where, so one comparison settles it, with no search around it.

Text is compared *squeezed*, without white space, so that wrapping does not hide a secret. Where there are
escape sequences, it is compared a second time without those.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, compress, pairwise
from operator import length_hint
from typing import NamedTuple, TypeAlias

from colab_magics.masking.patterns import encodings as spelling
from colab_magics.masking.patterns.prefilter import Prefilter
from colab_magics.masking.patterns.token_prefixes import PREFIXES

__all__ = ["Matcher", "Unfinished"]

FRAGMENT = 24  # bytes; a piece of a token this long is masked too: %whos shows 25 at either end
HEAD = 8  # bytes after a known prefix that make the beginning of a token worth masking wherever it stands
KNOWN = 4  # and that a shown piece of one must have at most
PIECE = 8  # bytes of a random secret that are masked beside an ellipsis or the border of a table's cell
GAP = 256  # bytes of separators between two characters of an encoding; bounds what a stream must hold back

_GRAM = 4
_BLOCK = 1 << 12
_LARGE = 1 << 12  # bytes; a smaller text is looked at carefully at once
_END = 256
_VISIBLE = bytes(0 if byte in spelling.SEPARATORS else 1 for byte in range(256))
# What stands for the rest of a cut text, and between the cells of a table; and what may stand before and behind that.
_CUTS = (b"...", b"|")
_WIDE_CUTS = ("\u2026".encode(), b"\xe2\x94", b"\xe2\x95")
_NARROW = bytes(byte for byte in range(256) if byte not in b"".join(_WIDE_CUTS))
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_EDGES = bytes(byte for byte in range(256) if byte > 127 or not (chr(byte).isalnum() or byte in b"_-+/=~"))


class Unfinished(NamedTuple):
    """The end of a text that may be the beginning of a secret."""

    start: int  # where in the text; its length if there is no such end
    size: int  # bytes of it that are not separators
    harmless: bool  # whether it tells so little that it may be shown
    context: int  # from where on the text decides what is made of text to come


class _Squeezed:
    """Text without white space, and the way back to where each byte stood."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.data = spelling.squeeze(raw)
        self._starts: list[int] = []  # of each block of `raw`, where in `data`; made when first needed
        self._maps: dict[int, list[int]] = {}
        self._end: list[int] | None = None

    def at(self, index: int) -> int:
        # The end is asked for with every piece of a stream, and not worth a map of the whole block.
        if self._end is None:
            self._end = self._places(max(0, len(self._raw) - _END), len(self._raw))
        if index >= len(self.data) - len(self._end):
            return self._end[index - len(self.data)]
        if not self._starts:
            blocks = (self._raw[at : at + _BLOCK] for at in range(0, len(self._raw), _BLOCK))
            self._starts = [0, *accumulate(len(spelling.squeeze(block)) for block in blocks)]
        block = bisect_right(self._starts, index) - 1
        if block not in self._maps:
            self._maps[block] = self._places(block * _BLOCK, (block + 1) * _BLOCK)
        return self._maps[block][index - self._starts[block]]

    def _places(self, start: int, end: int) -> list[int]:
        raw = self._raw[start:end]
        return list(compress(range(start, start + len(raw)), raw.translate(_VISIBLE)))


class _Unescaped:
    """A view without one kind of escape sequences."""

    def __init__(self, base: _View, kind: spelling.Escapes) -> None:
        self._base = base
        self._kind = kind
        self.data: bytes = kind.pattern.sub(b"", base.data)
        # The way back, from the end on, as far as it was needed: how far from the end of this view each text
        # begins, and where in the base. Most often only the end is asked for, so that is all that is split at first.
        self._split(kind.border(base.data, len(base.data) - 4 * _END))
        self._behind = [0]
        self._places = [len(base.data)]

    def _split(self, start: int) -> None:
        self._whole = start == 0
        # text, escape sequence, text, ..., text, nothing
        self._parts = [*self._kind.pattern.split(self._base.data[start:]), b""]
        self._next = len(self._parts) - 2

    def at(self, index: int) -> int:
        behind = len(self.data) - index
        while self._behind[-1] < behind:
            if self._next == 0 and not self._whole:
                self._split(0)
                self._next -= 2 * (len(self._behind) - 1)
            text, escape = self._parts[self._next : self._next + 2]
            self._behind.append(self._behind[-1] + len(text))
            self._places.append(self._places[-1] - len(escape) - len(text))
            self._next -= 2
        part = bisect_left(self._behind, behind)
        return self._base.at(self._places[part] + self._behind[part] - behind)


_View: TypeAlias = "_Squeezed | _Unescaped"


def _views(raw: bytes) -> list[_View]:
    views: list[_View] = [_Squeezed(raw)]
    # Not instead: an escape sequence is a guess, and a wrong one could swallow a secret's first character.
    view = views[0]
    for number, kind in enumerate(spelling.ESCAPES):
        if number == spelling.OUTSIDE_TAGS and view is not views[0]:
            views.append(view)
        if kind.start in view.data:
            view = _Unescaped(view, kind)
    return views if view is views[-1] else [*views, view]


class Matcher:
    """An unchanging set of secrets, ready to be looked for.

    Parameters
    ----------
    secrets : iterable of str
        Each of at least 8 visible characters.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        whole: set[bytes] = set()
        self._tokens: set[bytes] = set()
        self._random: set[bytes] = set()
        self._heads: dict[bytes, list[bytes]] = {}
        self._head_lengths: dict[bytes, int] = {}
        self._pieces: dict[bytes, tuple[bytes, int]] = {}
        for secret in {part for whole_secret in secrets for part in (whole_secret, *spelling.parts(whole_secret))}:
            spelled = spelling.encodings(secret)
            whole |= spelled
            plain = spelling.squeeze(secret.encode("utf-8", "surrogatepass"))
            if spelling.is_random(secret.strip()):
                self._random |= spelled
                self._add_token(plain)
        self.longest = max(map(len, whole), default=0)
        shortest = min(map(len, whole), default=FRAGMENT)
        if self._tokens:
            shortest = min(shortest, FRAGMENT)
        self._stride = max(1, (shortest - _GRAM + 1) // _GRAM)
        self._index: dict[int, list[tuple[bytes, int]]] = {}
        self._starts: dict[bytes, list[tuple[bytes, int]]] = {}
        self._stubs: set[bytes] = set()
        for encoding in sorted(whole | self._tokens):
            self._add_encoding(encoding)
        self._grams = frozenset(self._index)
        self._prefilter = Prefilter(whole, self._tokens, self._heads, self._head_lengths, FRAGMENT)

    def _add_token(self, plain: bytes) -> None:
        self._tokens.add(plain)
        prefix = next((prefix for prefix in map(str.encode, PREFIXES) if plain.startswith(prefix)), b"")
        for end in range(max(PIECE, len(prefix) + KNOWN), len(plain) + 1):
            self._pieces[plain[end - PIECE : end]] = plain, end - PIECE
        if prefix and len(plain) >= len(prefix) + HEAD:
            self._head_lengths[prefix] = len(prefix) + HEAD
            self._heads.setdefault(plain[: len(prefix) + HEAD], []).append(plain)

    def _add_encoding(self, encoding: bytes) -> None:
        token = encoding in self._tokens
        # Of a whole encoding, the first sampled position lies within one stride; a piece may start anywhere.
        count = len(encoding) - _GRAM + 1 if token else min(self._stride * _GRAM, len(encoding) - _GRAM + 1)
        for offset in range(count):
            gram = int.from_bytes(encoding[offset : offset + _GRAM], sys.byteorder)
            self._index.setdefault(gram, []).append((encoding, offset))
        for offset in range(count if token else 1):
            start = encoding[offset : offset + _GRAM]
            self._starts.setdefault(start, []).append((encoding, offset))
            self._stubs.update(start[:length] for length in range(1, _GRAM))

    def spans(self, raw: bytes) -> list[tuple[int, int]]:
        """Find what must be masked.

        Parameters
        ----------
        raw : bytes
            UTF-8 text, or binary data.

        Returns
        -------
        list of (int, int)
            Half-open byte ranges, in order; overlapping ones are joined.
        """
        return [] if self._clears(raw) else self._spans(raw, _views(raw))

    def scan(self, raw: bytes) -> tuple[list[tuple[int, int]], Unfinished]:
        """Find what must be masked, and where an encoding may have begun that later text would complete.

        Parameters
        ----------
        raw : bytes
            A stream's text so far.

        Returns
        -------
        (list of (int, int), Unfinished)
            The spans, and the longest end of `raw` that begins an encoding.
        """
        if not self._clears(raw):
            views = _views(raw)
            return self._spans(raw, views), self._tail(raw, views)
        cut, views = len(raw), _views(b"")
        while cut > 0:
            # What later text completes can have begun no further back than it is long. And where the cut goes through
            # an escape sequence, what is left of that looks like text.
            cut = max(0, min(cut, len(raw) - 4 * self.longest) - 4 * _END)
            views = _views(raw[cut:])
            if min(len(view.data) for view in views) > self.longest + GAP:
                break
        end = self._tail(raw[cut:], views)
        return [], end._replace(start=end.start + cut, context=end.context + cut)

    def _clears(self, raw: bytes) -> bool:
        return len(raw) >= _LARGE and self._prefilter.clears(raw) and not any(self._cut_off(raw))

    def _spans(self, raw: bytes, views: list[_View]) -> list[tuple[int, int]]:
        found = [*self._cut_off(raw)]
        for view in views:
            for start, end in self._hits(view.data):
                places = view.at(start), view.at(end - 1) + 1
                if places[1] - places[0] <= end - start + GAP or _is_close(view, start, end):
                    found.append(places)
        return join(found)

    def _hits(self, data: bytes) -> Iterator[tuple[int, int]]:
        if len(data) < spelling.MIN_LENGTH:
            return
        ends: dict[tuple[bytes, int], int] = {}
        for place, gram in self._sampled(data):
            for encoding, offset in self._index[gram]:
                start = place - offset
                if start >= 0 and data.startswith(encoding, start):
                    yield start, start + len(encoding)
                elif encoding in self._tokens and ends.get((encoding, start), 0) <= place:
                    run = _run(data, encoding, place, offset)
                    ends[encoding, start] = run[1]
                    if run[1] - run[0] >= FRAGMENT:
                        yield run
        for prefix, length in self._head_lengths.items():
            for place in _places(data, prefix):
                for encoding in self._heads.get(data[place : place + length], ()):
                    yield _run(data, encoding, place, 0)

    def _cut_off(self, raw: bytes) -> Iterator[tuple[int, int]]:
        """Yield where a piece of a random secret stands beside an ellipsis or a border."""
        cuts = _cuts(raw) if self._pieces else []
        if cuts:
            raw = _uncoloured(raw)
        for cut in cuts:
            start = 0
            for cell in raw.split(cut):
                end = start + len(cell)
                if len(cell) >= PIECE:
                    left, right = len(cell) - len(cell.lstrip(_EDGES)), len(cell.rstrip(_EDGES))
                    for place, beside in ((start + left, start > 0), (start + right - PIECE, end < len(raw))):
                        token, offset = self._pieces.get(raw[place : place + PIECE], (b"", 0))
                        if token and beside:
                            yield _run(raw, token, place, offset)
                start = end + len(cut)

    def _sampled(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield place and gram wherever a sampled gram is one of ours."""
        words = memoryview(data)[: len(data) // _GRAM * _GRAM].cast("I")[:: self._stride]
        for first in range(0, len(words), _BLOCK):
            block = words[first : first + _BLOCK].tolist()
            rest = iter(block)
            while not self._grams.isdisjoint(rest):  # stops behind the first of ours
                number = len(block) - length_hint(rest) - 1
                yield (first + number) * self._stride * _GRAM, block[number]

    def _tail(self, raw: bytes, views: list[_View]) -> Unfinished:
        best = Unfinished(len(raw), 0, False, len(raw))
        for view in views:
            for length, harmless in self._unfinished(view.data[-self.longest :]):
                first, last = len(view.data) - length, len(view.data) - 1
                start = view.at(first)
                if len(raw) - view.at(last) - 1 <= GAP and _is_close(view, first, last + 1):
                    if start < best.start:
                        best = Unfinished(start, length, harmless, start)
                    break
        # What comes next may be beside a cut that was shown long ago.
        far = max(0, best.start - GAP)
        cut = max(raw.rfind(cut, far, best.start) for cut in _CUTS + _WIDE_CUTS) if self._pieces else -1
        if cut >= 0 and len(_uncoloured(raw[cut : best.start]).lstrip(_EDGES)) < PIECE:
            best = best._replace(context=cut)
        return best

    def _unfinished(self, end: bytes) -> Iterator[tuple[int, bool]]:
        """Yield the lengths of suffixes that begin some encoding, longest first, and whether they tell little."""
        for at in range(len(end)):
            start = end[at : at + _GRAM]
            if len(start) < _GRAM:
                if start in self._stubs:
                    yield len(end) - at, True
            elif start in self._starts:
                rest = end[at:]
                begun = [
                    encoding
                    for encoding, offset in self._starts[start]
                    if len(rest) < len(encoding) - offset and encoding.startswith(rest, offset)
                ]
                if begun:
                    yield len(rest), all(len(rest) < self._showable(encoding) for encoding in begun)

    def _showable(self, encoding: bytes) -> int:
        """Say how many bytes of an encoding its beginning must have to be kept from sight.

        The beginning of a link is ordinary text (``https://www.dropbox.com``), and so is that of a known kind of token.
        """
        if encoding.startswith(b"http"):
            return max(PIECE, len(encoding) // 2)
        prefix = max((len(prefix) for prefix in self._head_lengths if encoding.startswith(prefix)), default=0)
        return max(PIECE, prefix + KNOWN)


def join(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort half-open ranges and join those that overlap."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _places(data: bytes, prefix: bytes) -> Iterator[int]:
    """Yield where `prefix` occurs."""
    # Looking for one byte is fifty times as fast as looking for several, as long as it is rare. Prefixes end
    # in a rare one (an underscore, a hyphen).
    last, back = prefix[-1:], len(prefix) - 1
    rare = data.count(last) * 1000 < len(data)
    place = data.find(last, back) - back if rare else data.find(prefix)
    while place >= 0:
        if not rare or data.startswith(prefix, place):
            yield place
        place = data.find(last, place + back + 1) - back if rare else data.find(prefix, place + 1)


def _run(data: bytes, encoding: bytes, place: int, offset: int) -> tuple[int, int]:
    """Grow a match of `encoding` around data[place] as far as the two agree."""
    end, at = place, offset
    while end < len(data) and at < len(encoding) and data[end] == encoding[at]:
        end, at = end + 1, at + 1
    while place > 0 and offset > 0 and data[place - 1] == encoding[offset - 1]:
        place, offset = place - 1, offset - 1
    return place, end


def _is_close(view: _View, start: int, end: int) -> bool:
    """Tell whether no two neighbours among these bytes stand more than a gap apart."""
    places = [view.at(index) for index in range(start, end)]
    return all(after - before <= GAP + 1 for before, after in pairwise(places))


def _cuts(raw: bytes) -> list[bytes]:
    """List the cuts that occur. To look for one byte takes a tenth of the time, so only few texts are searched."""
    cuts = [cut for cut in _CUTS if cut in raw]
    if b"\xe2" in raw:
        wide = raw.translate(None, _NARROW)
        cuts += [cut for cut in _WIDE_CUTS if cut in wide]
    return cuts


def _uncoloured(raw: bytes) -> bytes:
    """Put spaces in place of colours."""
    return _COLOUR.sub(lambda colour: b" " * len(colour[0]), raw) if b"\x1b" in raw else raw
