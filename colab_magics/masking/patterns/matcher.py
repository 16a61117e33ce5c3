"""Find every encoding of many secrets in a large text, in linear time (pure).

The usual tools are too slow here: Aho-Corasick in Python costs a dictionary look-up a byte, and a regular
expression with a thousand alternatives tries them at each byte. But few encodings are short. Any 23 bytes hold a whole
8-byte gram that starts at a multiple of 16, so it is enough to look at every 16th position: `isdisjoint` over a
strided memoryview does that at C speed, and what it costs hardly depends on how many secrets there are. A hit names
the encodings that hold the gram, so one comparison settles it, with no search around it.

Text is compared *squeezed*, without white space, so that wrapping does not hide a secret. Where there are
escape sequences, it is compared a second time without those.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, compress, pairwise
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

# Bytes of a gram, and between those of a text that are looked at. An encoding goes by the first it is long enough for.
_GRAMS = ((8, 16), (8, 8), (4, 4))
_CROWD = 8  # encodings that may have a gram in common, if that can be helped
_START = 4  # bytes of the beginning of an encoding, by which it is found at the end of a text
_PART = 64  # bytes of an encoding, however long, for which the prefilter looks
_BLOCK = 1 << 12
_LARGE = 1 << 12  # bytes; a smaller text is looked at carefully at once
_END = 256
_VISIBLE = bytes(0 if byte in spelling.SEPARATORS else 1 for byte in range(256))
# What stands for the rest of a cut text, or between pieces of it; and what may stand before and behind that.
_CUTS = (b"...", b"|", b"b'", b'b"')  # the last two begin each of the lines into which `pprint` breaks bytes
_WIDE_CUTS = ("\u2026".encode(), b"\xe2\x94", b"\xe2\x95")
_NARROW = bytes(byte for byte in range(256) if byte not in b"".join(_WIDE_CUTS))
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_LONGEST_COLOUR = 24  # bytes
_COUNTED = re.compile(rb"(?:\[[0-9]+)? chars\]")  # how `unittest` cuts; a stream may have lost the beginning
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

    def __init__(self, base: _View, kind: spelling.Escapes, data: bytes) -> None:
        self._base = base
        self._kind = kind
        self.data = data
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
            data = kind.drop(view.data)
            if len(data) < len(view.data):
                view = _Unescaped(view, kind, data)
    return views if view is views[-1] else [*views, view]


# Encodings that begin alike: the newest, and the chain of the others. One more of many takes no longer than the first.
_Chain: TypeAlias = "tuple[bytes, _Chain | None]"


def _each(chain: _Chain | None) -> Iterator[bytes]:
    while chain:
        encoding, chain = chain
        yield encoding


class _Index:
    """Encodings, found by their grams.

    Parameters
    ----------
    size : int
        Bytes of a gram: 4 or 8.
    step : int
        Bytes between the grams of a text that are looked at: a multiple of `size`.

    Attributes
    ----------
    least : int
        Bytes of the shortest encoding that is surely found.
    holders : dict
        Which encodings hold a gram.
    """

    def __init__(self, size: int, step: int) -> None:
        self._size, self._step, self.least = size, step, size + step - 1
        self._gram = struct.Struct("I" if size == 4 else "Q")
        self.holders: dict[int, tuple[bytes, ...]] = {}

    def add(self, encoding: bytes, in_pieces: bool = False) -> None:
        """Add an encoding of at least `least` bytes, or all its pieces of that many."""
        last = len(encoding) - self._size
        grams = self._grams(encoding, range(0 if in_pieces else last - self._step + 1, last + 1))
        taken = self.holders.keys() & grams
        if taken and not in_pieces and max(map(self._crowd, taken)) >= _CROWD:
            # Many links begin, and end, in the same way. Any part will do, as long as it is hit wherever a text has it.
            grams = {
                min(self._grams(encoding, range(start, last + 1, self._step)), key=self._crowd)
                for start in range(self._step)
            }
            taken = self.holders.keys() & grams
        shared = {gram: (*self.holders[gram], encoding) for gram in taken}
        self.holders.update(dict.fromkeys(grams, (encoding,)))
        self.holders.update(shared)

    def _grams(self, encoding: bytes, offsets: range) -> set[int]:
        return {self._gram.unpack_from(encoding, offset)[0] for offset in offsets}

    def _crowd(self, gram: int) -> int:
        return len(self.holders.get(gram, ()))

    def hits(self, data: bytes) -> Iterator[tuple[int, bytes, int]]:
        """Yield where a gram of ours stands in a text, an encoding that holds it, and where in that."""
        size, step, ours = self._size, self._step, self.holders.keys()
        if not ours:
            return
        whole = memoryview(data)[: len(data) // size * size]
        words = (whole.cast("I") if size == 4 else whole.cast("Q"))[:: step // size]
        for first in range(0, len(words), _BLOCK):
            block = words[first : first + _BLOCK].tolist()
            rest = iter(block)
            while not ours.isdisjoint(rest):  # stops behind the first of ours
                number = len(block) - length_hint(rest) - 1
                place = (first + number) * step
                gram = data[place : place + size]
                for encoding in self.holders[block[number]]:
                    offset = encoding.find(gram)
                    while offset >= 0:
                        yield place, encoding, offset
                        offset = encoding.find(gram, offset + 1)


class Matcher:
    """An unchanging set of secrets, ready to be looked for.

    Parameters
    ----------
    secrets : iterable of str
        Each of at least 8 visible characters.
    base : Matcher, optional
        One for some of them, which spares this one most of the work.
    """

    def __init__(self, secrets: Iterable[str], base: Matcher | None = None) -> None:
        self._known: set[bytes] = set()
        self._tokens: set[bytes] = set()
        self._heads: dict[bytes, tuple[bytes, ...]] = {}
        self._head_lengths: dict[bytes, int] = {}
        self._pieces: dict[bytes, bytes] = {}
        self._starts: dict[bytes, _Chain] = {}
        self._stubs: set[bytes] = set()
        self._longest = 0
        self._indexes = [_Index(*gram) for gram in _GRAMS]
        self._prefilter = Prefilter()
        self.secrets = frozenset(secrets)
        new = self.secrets
        if base is not None and base.secrets <= self.secrets:
            new -= base.secrets
            self._take_over(base)
        for secret in new:
            for part in {secret, *spelling.parts(secret)}:
                self._add(part)

    def _take_over(self, base: Matcher) -> None:
        for name in ("_known", "_tokens", "_heads", "_head_lengths", "_pieces", "_starts", "_stubs"):
            getattr(self, name).update(getattr(base, name))
        self._longest = base._longest
        for index, other in zip(self._indexes, base._indexes, strict=True):
            index.holders.update(other.holders)
        self._prefilter.take_over(base._prefilter)

    def _add(self, part: str) -> None:
        if spelling.is_random(part.strip()):
            self._add_token(spelling.squeeze(part.encode("utf-8", "surrogatepass")))
        for encoding in spelling.encodings(part) - self._known:
            self._add_encoding(encoding)

    def _add_token(self, plain: bytes) -> None:
        if plain in self._tokens:
            return
        self._tokens.add(plain)
        self._add_encoding(plain)
        prefix = next((prefix for prefix in map(str.encode, PREFIXES) if plain.startswith(prefix)), b"")
        for end in range(max(PIECE, len(prefix) + KNOWN), len(plain) + 1):
            self._pieces[plain[end - PIECE : end]] = plain
        if prefix and len(plain) >= len(prefix) + HEAD:
            self._prefilter.add_prefix(prefix)
            self._head_lengths[prefix] = len(prefix) + HEAD
            head = plain[: len(prefix) + HEAD]
            self._heads[head] = (*self._heads.get(head, ()), plain)

    def _add_encoding(self, encoding: bytes) -> None:
        self._known.add(encoding)
        self._longest = max(self._longest, len(encoding))
        in_pieces = encoding in self._tokens
        next(index for index in self._indexes if index.least <= len(encoding)).add(encoding, in_pieces)
        if in_pieces:
            self._prefilter.add(encoding, min(len(encoding), FRAGMENT))
        else:
            part = encoding[-_PART:]  # where all of it is, that is
            self._prefilter.add(part, len(part))
        for at in range(len(encoding) - _START + 1 if in_pieces else 1):
            start = encoding[at : at + _START]
            self._starts[start] = encoding, self._starts.get(start)
            self._stubs.update((start[:1], start[:2], start[:3]))

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
            cut = max(0, min(cut, len(raw) - 4 * self._longest) - 4 * _END)
            views = _views(raw[cut:])
            if min(len(view.data) for view in views) > self._longest + GAP:
                break
        end = self._tail(raw[cut:], views)
        return [], end._replace(start=end.start + cut, context=end.context + cut)

    def _clears(self, raw: bytes) -> bool:
        return len(raw) >= _LARGE and self._prefilter.clears(raw) and not any(self._cut_off(raw))

    def _spans(self, raw: bytes, views: list[_View]) -> list[tuple[int, int]]:
        found = [*self._cut_off(raw)]
        for view in views:
            found += [(view.at(start), view.at(end - 1) + 1) for start, end in self._hits(view)]
        return join([(_past_colour(raw, start), end) for start, end in found])

    def _hits(self, view: _View) -> Iterator[tuple[int, int]]:
        data = view.data
        ends: dict[tuple[bytes, int], int] = {}
        for place, encoding, offset in chain.from_iterable(index.hits(data) for index in self._indexes):
            start = place - offset
            if encoding in self._tokens:
                if ends.get((encoding, start), 0) <= place:
                    run = _run(data, encoding, place, offset)
                    ends[encoding, start] = run[1]
                    least = min(FRAGMENT, len(encoding))
                    yield from (piece for piece in _close(view, *run) if piece[1] - piece[0] >= least)
            elif start >= 0 and data.startswith(encoding, start):
                whole = start, start + len(encoding)
                if _close(view, *whole) == [whole]:
                    yield whole
        for prefix, length in self._head_lengths.items():
            for place in _places(data, prefix):
                for encoding in self._heads.get(data[place : place + length], ()):
                    start, end = _close(view, *_run(data, encoding, place, 0))[0]
                    if end - start >= length:
                        yield start, end

    def _cut_off(self, raw: bytes) -> Iterator[tuple[int, int]]:
        """Yield where a piece of a random secret stands beside an ellipsis or a border."""
        if not self._pieces:
            return
        if b"]" in raw and b" chars]" in raw:
            raw = _COUNTED.sub(lambda cut: b"|" * len(cut[0]), raw)
        cuts = _cuts(raw)
        if cuts:
            raw = _uncoloured(raw)
        for cut in cuts:
            cells = raw.split(cut)
            # Most often none of them is ours, which can be had much faster than each by itself.
            pieces = {cell.lstrip(_EDGES)[:PIECE] for cell in cells} | {cell.rstrip(_EDGES)[-PIECE:] for cell in cells}
            if pieces.isdisjoint(self._pieces):
                continue
            start = 0
            for cell in cells:
                end = start + len(cell)
                if len(cell) >= PIECE:
                    left, right = len(cell) - len(cell.lstrip(_EDGES)), len(cell.rstrip(_EDGES))
                    for place, beside in ((start + left, start > 0), (start + right - PIECE, end < len(raw))):
                        piece = raw[place : place + PIECE]
                        token = self._pieces.get(piece)
                        if token and beside:
                            yield _run(raw, token, place, token.find(piece))
                start = end + len(cut)

    def _tail(self, raw: bytes, views: list[_View]) -> Unfinished:
        best = Unfinished(len(raw), 0, False, len(raw))
        for view in views:
            for length, harmless in self._unfinished(view.data[-self._longest :]):
                first, last = len(view.data) - length, len(view.data) - 1
                start = view.at(first)
                if len(raw) - view.at(last) - 1 <= GAP and len(_close(view, first, last + 1)) == 1:
                    if start < best.start:
                        best = Unfinished(start, length, harmless, start)
                    break
        if self._pieces:
            best = best._replace(context=min(best.context, _cut_before(raw, best.start)))
        return best

    def _unfinished(self, end: bytes) -> Iterator[tuple[int, bool]]:
        """Yield the lengths of suffixes that begin some encoding, longest first, and whether they tell little."""
        for at in range(len(end)):
            start = end[at : at + _START]
            if len(start) < _START:
                if start in self._stubs:
                    yield len(end) - at, True
            elif start in self._starts:
                rest = end[at:]
                begun = [encoding for encoding in _each(self._starts[start]) if self._goes_on(encoding, rest)]
                if begun:
                    yield len(rest), all(len(rest) < self._showable(encoding) for encoding in begun)

    def _goes_on(self, encoding: bytes, rest: bytes) -> bool:
        if encoding in self._tokens:
            return encoding.find(rest, 0, len(encoding) - 1) >= 0
        return len(rest) < len(encoding) and encoding.startswith(rest)

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


def _past_colour(raw: bytes, start: int) -> int:
    """Return where a hit begins, which may have taken the end of a colour for its own: the ``m`` of ``ESC [0m``."""
    for colour in _COLOUR.finditer(raw, max(start - _LONGEST_COLOUR, 0), start + _LONGEST_COLOUR):
        if colour.start() < start < colour.end():
            return colour.end()
    return start


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


def _close(view: _View, start: int, end: int) -> list[tuple[int, int]]:
    """Split a range where two neighbours stand more than a gap apart."""
    if view.at(end - 1) - view.at(start) < end - start + GAP:
        return [(start, end)]
    places = [view.at(index) for index in range(start, end)]
    far = [start + at for at, (before, after) in enumerate(pairwise(places), 1) if after - before > GAP + 1]
    return list(pairwise([start, *far, end]))


def _cuts(raw: bytes) -> list[bytes]:
    """List the cuts that occur. To look for one byte takes a tenth of the time, so only few texts are searched."""
    cuts = [cut for cut in _CUTS if cut[-1:] in raw and cut in raw]
    if b"\xe2" in raw:
        wide = raw.translate(None, _NARROW)
        cuts += [cut for cut in _WIDE_CUTS if cut in wide]
    return cuts


def _cut_before(raw: bytes, end: int) -> int:
    """Say where a cut begins that what comes at `end` may be beside, or whose rest may come there; `end` if nowhere."""
    cuts = (*_CUTS, *_WIDE_CUTS, b" chars]")
    begun = [end - size for cut in cuts for size in range(1, len(cut)) if raw.endswith(cut[:size], 0, end)]
    far = max(0, end - GAP)
    place, size = max((raw.rfind(cut, far, end), len(cut)) for cut in cuts)
    if place >= 0 and len(_uncoloured(raw[place + size : end]).lstrip(_EDGES)) < PIECE:
        begun.append(place)
    return min(begun, default=end)


def _uncoloured(raw: bytes) -> bytes:
    """Put spaces in place of colours."""
    return _COLOUR.sub(lambda colour: b" " * len(colour[0]), raw) if b"\x1b" in raw else raw
