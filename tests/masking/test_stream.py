"""masking/stream.py: text that is cut anywhere."""

from __future__ import annotations

import base64
import itertools
import re

from hypothesis import given
from hypothesis import strategies as st
from masks import known

from colab_magics.masking import StreamMask, redact, registry
from colab_magics.masking.patterns import encodings
from colab_magics.masking.patterns.matcher import GAP

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF"  # made up
LETTERS = "abababab-ab"  # its beginning recurs in it, and ends it
PHRASE = "p\u00e4ss w\u00f6rt\u20ac\"x\\n'y"
SECRETS = (TOKEN, LETTERS, PHRASE)

broken = st.builds(
    lambda secret, by: by.join(secret), st.sampled_from(SECRETS), st.sampled_from([" ", "\x1b[1m", "\n  "])
)
pieces = st.one_of(
    st.sampled_from([*SECRETS, base64.b64encode(b"u:" + TOKEN.encode()).decode(), repr(PHRASE), "ab", "abab", "ghp_"]),
    st.sampled_from(["\x1b[31m", "\x1b]0;title\x07", "\\n", " ", "\n", " " * (GAP + 1), "***", "\u20ac"]),
    st.builds(lambda secret, a, b: secret[a:b], st.sampled_from(SECRETS), st.integers(0, 39), st.integers(0, 40)),
    broken,
    st.text(st.characters(blacklist_characters="\x1b\\"), max_size=8),
)  # fmt: skip
texts = st.lists(pieces, max_size=8).map("".join)
# An escape sequence that never ends, or swallows what follows, is read differently once its start is gone.
torn = st.lists(st.one_of(pieces, st.sampled_from(["\x1b[", "\x1b", "\\", "\x1b]"])), max_size=8).map("".join)


def cut(text: str, places: list[int]) -> list[str]:
    borders = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(borders)]


def visible(text: str) -> int:
    return len(
        encodings.unescape(encodings.squeeze(text.encode("utf-8", "surrogatepass"))).decode("utf-8", "surrogatepass")
    )


def survivors(text: str) -> list[bytes]:
    squeezed = encodings.squeeze(text.encode("utf-8", "surrogatepass"))
    return [form for secret in SECRETS for form in encodings.encodings(secret) if form in squeezed]


@given(texts, st.lists(st.integers(0, 10**6), max_size=12))
def test_cuts_make_no_difference(text: str, places: list[int]) -> None:
    """With all patience, a stream cut anywhere comes out as the whole text would."""
    with known(*SECRETS):
        mask = StreamMask(patience=1)
        shown = "".join([mask.feed(piece) for piece in cut(text, places)] + [mask.flush()])
        assert shown == redact(text)


@given(texts, st.lists(st.integers(0, 10**6), max_size=12))
def test_with_little_patience_only_heads_show(text: str, places: list[int]) -> None:
    """By default, at most three leading characters of a secret appear before its mask; nothing else differs."""
    with known(*SECRETS):
        mask = StreamMask()
        shown = "".join([mask.feed(piece) for piece in cut(text, places)] + [mask.flush()])
        assert not survivors(shown)
        raw, expected, at = text.encode("utf-8", "surrogatepass"), b"", 0
        matcher = registry.matcher()
        assert matcher is not None
        for start, end in matcher.spans(raw):
            span = raw[start:end].decode("utf-8", "surrogatepass")
            heads = {span[:n] for n in range(len(span)) if visible(span[:n]) <= 3}
            either = "|".join(re.escape(head) for head in sorted(heads, key=len, reverse=True))
            # Overlapping secrets may get a mask each when the separators between them were not held back.
            masks = f"(?:{either})(?:\\*\\*\\*(?:\\s|\\x1b\\S*)*)*\\*\\*\\*"
            expected += re.escape(raw[at:start]) + masks.encode("utf-8", "surrogatepass")
            at = end
        expected += re.escape(raw[at:])
        assert re.fullmatch(expected, shown.encode("utf-8", "surrogatepass"))


@given(torn, st.lists(st.integers(0, 10**6), max_size=12), st.lists(st.booleans(), min_size=13, max_size=13))
def test_interruptions_let_nothing_through(text: str, places: list[int], settled: list[bool]) -> None:
    """Also a stream that must show what it has, at any moments, never shows a secret in sum."""
    with known(*SECRETS):
        mask, shown = StreamMask(), ""
        for piece, settle in zip(cut(text, places), settled, strict=False):
            shown += mask.feed(piece)
            if settle:
                shown += mask.settle()
                assert not mask.holding
        assert not survivors(shown + mask.flush())


@given(st.lists(st.text(alphabet="#|,!&^ .\r\n", min_size=1, max_size=20), max_size=20))
def test_ordinary_text_is_never_delayed(lines: list[str]) -> None:
    """What cannot begin a secret is given out at once."""
    with known(*SECRETS):
        mask = StreamMask()
        assert [mask.feed(line) for line in lines] == lines


def test_an_ellipsis_is_known_in_pieces() -> None:
    """The end of a token is masked beside an ellipsis, however that came."""
    with known(TOKEN):
        for cut in ("...", "b'", "<...> ", "[17 chars]", "\u2026"):
            for at in range(len(cut) + 1):
                mask = StreamMask()
                shown = [
                    mask.feed("a " + cut[:at]),
                    mask.settle(),
                    mask.feed(cut[at:] + TOKEN[-11:-5]),
                    mask.feed(TOKEN[-5:]),
                ]
                assert "".join([*shown, mask.feed(" b"), mask.flush()]) == f"a {cut}*** b"


def test_what_is_held_back_is_bounded() -> None:
    """A beginning of a secret, followed by no end of white space, does not keep a stream waiting."""
    with known(TOKEN):
        mask = StreamMask()
        assert mask.feed("x " + TOKEN[:10]) == "x "
        assert mask.feed(" " * GAP) == ""
        assert mask.feed(" ") == TOKEN[:10] + " " * (GAP + 1)


def test_settling() -> None:
    """A short head is shown when it must be; a long one is masked; the rest of either never appears."""
    with known(TOKEN):
        mask = StreamMask()
        assert [mask.feed("a ghp_aB"), mask.settle(), mask.feed(TOKEN[6:] + " b")] == ["a ", "ghp_aB", "*** b"]
        assert [mask.feed(TOKEN[:14]), mask.settle(), mask.feed(TOKEN[14:] + " b")] == ["***", "", " b"]
        code = TOKEN.encode().hex()
        assert [mask.feed(code[:9]), mask.settle(), mask.feed(code[9:] + " b")] == ["", "***", " b"]
        assert [mask.feed(code[:9]), mask.settle(), mask.feed(" else")] == ["", "***", " else"]


def test_the_beginning_of_a_link_is_ordinary_text() -> None:
    """Where a stream stops at what many links begin with, that is shown; where it stops near the end, it is not."""
    link = "https://www.dropbox.com/scl/fo/abcdefghijkl/h?rlkey=0123456789abcdefghijklmno&dl=0"
    with known(link):
        mask = StreamMask()
        assert [mask.feed("see https://www.dropbox.com/\n"), mask.settle()] == ["see ", "https://www.dropbox.com/\n"]
        assert [mask.feed(link[:60]), mask.settle(), mask.feed(link[60:] + "\n")] == ["", "***", "\n"]


def test_a_secret_registered_midway() -> None:
    """A stream masks what becomes a secret while it runs."""
    with known():
        mask = StreamMask()
        assert mask.feed(TOKEN + "\n") == TOKEN + "\n"
        registry.register(TOKEN)
        assert mask.feed(TOKEN + "\n") == "***\n"
