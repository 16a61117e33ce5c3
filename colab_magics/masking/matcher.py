"""Find every form of many secrets in a large text, in linear time (pure).

The usual tools are too slow here: Aho-Corasick in Python costs a dictionary look-up a byte, and a regular
expression with a thousand alternatives tries them at each byte. But no form is short. If the shortest has L
bytes, any occurrence holds a whole 4-byte gram that starts at a multiple of L - 3, so it is enough to look at
every (L - 3)th position: `set.isdisjoint` over a strided memoryview does that at C speed. A hit names the
forms that hold the gram and where, so one comparison settles it, with no search around it.

Text is compared *squeezed*, without white space, so that wrapping does not hide a secret. Where there are
escape sequences, it is compared a second time without those.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, compress, pairwise
from operator import length_hint
from typing import NamedTuple, TypeAlias

from colab_magics.masking import forms as spelling
from colab_magics.masking.sieve import Sieve
from colab_magics.masking.token_prefixes import PREFIXES

__all__ = ["Matcher", "Unfinished"]

FRAGMENT = 24  # bytes; a piece of a token this long is masked too: %whos shows 25 at either end
HEAD = 8  # bytes after a known prefix that make a cut-off token worth masking
GAP = 64  # bytes of separators between two characters of a form; bounds what a stream must hold back

_GRAM = 4
_BLOCK = 1 << 12
_LARGE = 1 << 12  # bytes; a smaller text is looked at carefully at once
_END = 256
_VISIBLE = bytes(0 if byte in b" \t\n\r\v\f" else 1 for byte in range(256))


class Unfinished(NamedTuple):
    """The end of a text that may be the beginning of a secret."""

    start: int  # where in the text; its length if there is no such end
    size: int  # bytes of it that are not separators
    harmless: bool  # whether it tells so little that it may be shown


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
    for kind in spelling.ESCAPES:
        if kind.start in view.data:
            view = _Unescaped(view, kind)
    return views if view is views[0] else [*views, view]


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
        for secret in secrets:
            spelled = spelling.forms(secret)
            whole |= spelled
            plain = spelling.squeeze(secret.encode("utf-8", "surrogatepass"))
            if spelling.is_token_like(secret.strip()):
                self._tokens.add(plain)
                self._random |= spelled
            self._add_head(plain)
        self.longest = max(map(len, whole), default=0)
        shortest = min(map(len, whole), default=FRAGMENT)
        if self._tokens:
            shortest = min(shortest, FRAGMENT)
        self._stride = max(1, (shortest - _GRAM + 1) // _GRAM)
        self._index: dict[int, list[tuple[bytes, int]]] = {}
        self._starts: dict[bytes, list[tuple[bytes, int]]] = {}
        self._stubs: set[bytes] = set()
        for form in sorted(whole | self._tokens):
            self._add_form(form)
        self._grams = frozenset(self._index)
        self._sieve = Sieve(whole, self._tokens, self._heads, self._head_lengths, FRAGMENT)

    def _add_head(self, plain: bytes) -> None:
        start = next((prefix for prefix in map(str.encode, PREFIXES) if plain.startswith(prefix)), plain)
        if len(plain) >= len(start) + HEAD:
            self._head_lengths[start] = len(start) + HEAD
            self._heads.setdefault(plain[: len(start) + HEAD], []).append(plain)

    def _add_form(self, form: bytes) -> None:
        token = form in self._tokens
        # Of a whole form, the first sampled position lies within one stride; a piece may start anywhere.
        count = len(form) - _GRAM + 1 if token else min(self._stride * _GRAM, len(form) - _GRAM + 1)
        for offset in range(count):
            gram = int.from_bytes(form[offset : offset + _GRAM], sys.byteorder)
            self._index.setdefault(gram, []).append((form, offset))
        for offset in range(count if token else 1):
            start = form[offset : offset + _GRAM]
            self._starts.setdefault(start, []).append((form, offset))
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
        return [] if self._clears(raw) else self._spans(_views(raw))

    def scan(self, raw: bytes) -> tuple[list[tuple[int, int]], Unfinished]:
        """Find what must be masked, and where a form may have begun that later text would complete.

        Parameters
        ----------
        raw : bytes
            A stream's text so far.

        Returns
        -------
        (list of (int, int), Unfinished)
            The spans, and the longest end of `raw` that begins a form.
        """
        if not self._clears(raw):
            views = _views(raw)
            return self._spans(views), self._tail(views, len(raw))
        cut, views = len(raw), _views(b"")
        while cut > 0:
            # A form that later text completes can have begun no further back than it is long. And where the cut goes
            # through an escape sequence, what is left of that looks like text.
            cut = max(0, min(cut, len(raw) - 4 * self.longest) - 4 * _END)
            views = _views(raw[cut:])
            if min(len(view.data) for view in views) > self.longest + GAP:
                break
        end = self._tail(views, len(raw) - cut)
        return [], end._replace(start=end.start + cut)

    def _clears(self, raw: bytes) -> bool:
        return len(raw) >= _LARGE and self._sieve.clears(raw)

    def _spans(self, views: list[_View]) -> list[tuple[int, int]]:
        found = []
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
            for form, offset in self._index[gram]:
                start = place - offset
                if start >= 0 and data.startswith(form, start):
                    yield start, start + len(form)
                elif form in self._tokens and ends.get((form, start), 0) <= place:
                    run = _run(data, form, place, offset)
                    ends[form, start] = run[1]
                    if run[1] - run[0] >= FRAGMENT:
                        yield run
        for prefix, length in self._head_lengths.items():
            for place in _places(data, prefix):
                for form in self._heads.get(data[place : place + length], ()):
                    yield _run(data, form, place, 0)

    def _sampled(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield place and gram wherever a sampled gram is one of ours."""
        words = memoryview(data)[: len(data) // _GRAM * _GRAM].cast("I")[:: self._stride]
        for first in range(0, len(words), _BLOCK):
            block = words[first : first + _BLOCK].tolist()
            rest = iter(block)
            while not self._grams.isdisjoint(rest):  # stops behind the first of ours
                number = len(block) - length_hint(rest) - 1
                yield (first + number) * self._stride * _GRAM, block[number]

    def _tail(self, views: list[_View], size: int) -> Unfinished:
        best = Unfinished(size, 0, False)
        for view in views:
            for length, harmless in self._unfinished(view.data[-self.longest :]):
                first, last = len(view.data) - length, len(view.data) - 1
                start = view.at(first)
                if size - view.at(last) - 1 <= GAP and _is_close(view, first, last + 1):
                    if start < best.start:
                        best = Unfinished(start, length, harmless)
                    break
        return best

    def _unfinished(self, end: bytes) -> Iterator[tuple[int, bool]]:
        """Yield the lengths of suffixes that begin some form, longest first, and whether they tell little."""
        for at in range(len(end)):
            start = end[at : at + _GRAM]
            if len(start) < _GRAM:
                if start in self._stubs:
                    yield len(end) - at, True
            elif start in self._starts:
                rest = end[at:]
                begun = [
                    form
                    for form, offset in self._starts[start]
                    if len(rest) < len(form) - offset and form.startswith(rest, offset)
                ]
                if begun:
                    yield len(rest), all(len(rest) < self._showable(form) for form in begun)

    def _showable(self, form: bytes) -> int:
        """Say how many bytes of a form its beginning must have to be kept from sight.

        The beginning of a link or a phrase is ordinary text (``https://www.dropbox.com``); that of a random
        token, after its host's prefix, is not.
        """
        if form not in self._random:
            return max(HEAD, len(form) // 2)
        return HEAD + max((len(prefix) for prefix in self._head_lengths if form.startswith(prefix)), default=0)


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


def _run(data: bytes, form: bytes, place: int, offset: int) -> tuple[int, int]:
    """Grow a match of `form` around data[place] as far as the two agree."""
    end, at = place, offset
    while end < len(data) and at < len(form) and data[end] == form[at]:
        end, at = end + 1, at + 1
    while place > 0 and offset > 0 and data[place - 1] == form[offset - 1]:
        place, offset = place - 1, offset - 1
    return place, end


def _is_close(view: _View, start: int, end: int) -> bool:
    """Tell whether no two neighbours among these bytes stand more than a gap apart."""
    places = [view.at(index) for index in range(start, end)]
    return all(after - before <= GAP + 1 for before, after in pairwise(places))
