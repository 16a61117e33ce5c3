"""masking/patterns/prefilter.py: what it clears is clean."""

from __future__ import annotations

import base64
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_magics.masking.patterns import matcher as matching
from colab_magics.masking.patterns.matcher import FRAGMENT, GAP, Matcher
from colab_magics.masking.patterns.prefilter import Prefilter

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF"  # made up
LONG = "github_pat_" + "11ABCDEFG0" + "aBcDe_fGhIj" * 6
KEY = "00112233445566778899aabbccddeeff00112233"
PHRASE = "p\u00e4ss W\u00d6rt\u20ac\"X\\nQ'Y ZZZ"
RLKEY = "qz7k2j4w9xg1yp8v3b5n6m0cd"
SECRETS = (TOKEN, LONG, KEY, PHRASE, RLKEY)
SETS = tuple(Matcher(some) for some in (SECRETS, *((secret,) for secret in SECRETS)))

separators = st.sampled_from([
    " ", "\n", "\r\n    ", "\x1b[31m", "\x1b[0m\x1b[1;32m", "\\n", "\\\\n", "\\x1b[31m", "\\u001b[1m", "\x1b[K",
    "\x1b[2A", "\x1b]0;A TITLE\x07", "\x1b[?25h", "\\x1b[K", "\\x1\x1b[0mb[K", "\x1b [K", "\x1b", "\\",
    "\x1b[", " " * GAP, "\u2502\n\u2502 ", "', '", "\\u2502", "<b>", "</span><span CLASS='X q'>", ">", "\0", "|",
])  # fmt: skip
encoded = st.sampled_from([
    str, lambda s: base64.b64encode(b"u:" + s.encode()).decode(), lambda s: s.encode().hex(), repr,
    lambda s: s.encode().hex(":"), lambda s: s[:12], lambda s: s[3 : 3 + FRAGMENT], lambda s: s[5:],
    lambda s: s[7:16] + "...", lambda s: f"<...>{s[-10:]}",
])  # fmt: skip
pieces = st.one_of(
    st.builds(lambda secret, encode: encode(secret), st.sampled_from(SECRETS), encoded),
    st.builds(lambda secret, encode, by: by.join(encode(secret)), st.sampled_from(SECRETS), encoded, separators),
    st.builds(lambda s, at, by: s[:at] + by + s[at:], st.sampled_from(SECRETS), st.integers(0, 40), separators),
    separators,
    st.sampled_from(["ghp_", "...", "\u2026", " \u2502 ", "<...>", "<A HREF=", "> ", "WARNING ",
                     "1b[", "an ordinary sentence, ", "0123 4567 ", "deadbeef", "x" * 300]),
    st.text(max_size=8),
)  # fmt: skip
texts = st.lists(pieces, max_size=8).map("".join)


def careful(matcher: Matcher, raw: bytes) -> tuple[list[tuple[int, int]], matching.Unfinished]:
    views = matching._views(raw)
    return matcher._spans(raw, views), matcher._tail(raw, views)


@given(texts)
def test_a_glance_sees_what_a_careful_look_finds(text: str) -> None:
    """However a secret is spelled, cut, or broken up: a text in which one is found is never cleared."""
    raw = text.encode("utf-8", "surrogatepass")
    for matcher in SETS:
        cleared = matcher._prefilter.clears(raw) and not any(matcher._cut_off(raw))
        assert not (cleared and careful(matcher, raw)[0])


@given(texts, st.sampled_from([1, matching._END]))
def test_a_glance_changes_no_answer(text: str, end: int) -> None:
    """With the prefilter before it, a matcher finds the same, and holds back the same end of a stream."""
    raw = text.encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_LARGE", 0)
        patch.setattr(matching, "_END", end)
        for matcher in SETS:
            assert matcher.scan(raw) == careful(matcher, raw)


ORDINARY = {
    "prose": "The quick brown fox jumps over the lazy dog, and then it sleeps.\n" * 100,
    "a log": "2024-05-01 12:00:00,123 INFO trainer epoch=3 loss=0.1234 path=/content/data/train_0001.csv\n" * 100,
    "colours": "\x1b[32m  17\x1b[0m \x1b[1;31mfailed\x1b[0m because of something\n" * 100,
    "code, as a repr": r"'def f(x):\n\treturn g(x) + 1\n\nclass A_B:\n    pass\n'" * 100,
    "numbers": "0.1234 5.6789 -1.5e-07\n" * 200,
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_text_is_cleared(kind: str) -> None:
    """Prose, logs, colours, code and numbers are cleared at a glance: that is what it is for."""
    chance = random.Random(5)
    tokens = ["ghp_" + "".join(chance.choices(string.ascii_letters + string.digits, k=36)) for _ in range(3)]
    assert Matcher(tokens)._prefilter.clears(ORDINARY[kind].encode())


def test_a_secret_without_capitals_is_not_overlooked() -> None:
    """Where secrets leave nothing to sift, nothing is ever cleared."""
    for secret in ("hunter2hunter2", "no one is there"):
        assert not Matcher([secret])._prefilter.clears(b"an ordinary sentence")


def test_two_forms_that_look_alike_when_sifted() -> None:
    """A piece of a token is seen although another encoding, which is masked only whole, leaves the same characters."""
    token = b"aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgHiJ"
    for pair in ((token, token + b"1"), (token + b"1", token)):
        sieve = Prefilter(pair, [token], [], [], FRAGMENT)
        assert not sieve.clears(token[3 : 3 + FRAGMENT])


def test_wherever_it_stands_among_other_capitals() -> None:
    """However many capitals stand before a encoding, of those that leave few and of those that leave many."""
    for encoding in (b"abcXdYefgZhiWjVkl", b"aQbWcEdRfTgYhUiOjPkLlKmJ"):
        sieve = Prefilter([encoding], [], [], [], FRAGMENT)
        for before in range(12):
            # Capitals must be rare for the prefilter to be of use.
            assert not sieve.clears(b"N" * before + encoding + b" some more words" * 30)
            assert sieve.clears(b"N" * before + b" some more words" * 30)
