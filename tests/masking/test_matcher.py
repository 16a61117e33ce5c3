"""masking/patterns/matcher.py and prefilter.py: what a few looks find is all there is."""

from __future__ import annotations

import base64
import itertools
import random
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ordinary_text import corpus

from colab_magics.masking.patterns import encodings
from colab_magics.masking.patterns import matcher as matching
from colab_magics.masking.patterns.matcher import FRAGMENT, GAP, HEAD, Matcher
from colab_magics.masking.patterns.prefilter import Prefilter
from colab_magics.masking.patterns.token_prefixes import PREFIXES

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF"  # made up
LONG = "github_pat_" + "11ABCDEFG0" + "aBcDe_fGhIj" * 6
KEY = "00112233445566778899aabbccddeeff00112233"
PHRASE = "p\u00e4ss W\u00d6rt\u20ac\"X\\nQ'Y ZZZ"
LINK = "https://www.dropbox.com/scl/fo/abcd1234/AHx-y?rlkey=qz7k2j4w9xg1yp8v3b5n6m0cd&st=ab&dl=0"
SHORT = "hunter2hunter2"
SECRETS = (TOKEN, LONG, KEY, PHRASE, LINK, SHORT)
SETS = tuple(Matcher(set(some)) for some in (SECRETS, *((secret,) for secret in SECRETS)))

separators = st.sampled_from([
    " ", "\n", "\r\n    ", "\x1b[31m", "\x1b[0m\x1b[1;32m", "\\n", "\\\\n", "\\x1b[31m", "\\u001b[1m", "\x1b[K",
    "\x1b[2A", "\x1b]0;A TITLE\x07", "\x1b[?25h", "\\x1b[K", "\\x1\x1b[0mb[K", "\x1b [K", "\x1b", "\\",
    "\x1b[", " " * GAP, "\u2502\n\u2502 ", "', '", "\\u2502", "<b>", "</span><span CLASS='X q'>", ">", "\0", "|",
    "\u00a0", "\u3000", "&nbsp;", "&#xa0;", "&",
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


def views(raw: bytes) -> list[list[tuple[int, int]]]:
    """Say what a text is compared as, a byte and where it stood after the other: the slow way, step by step."""
    view = [(byte, place) for place, byte in enumerate(raw) if byte not in encodings.SEPARATORS]
    seen = [view]
    for number, kind in enumerate(encodings.ESCAPES, 1):
        gone = {at for found in kind.pattern.finditer(bytes(byte for byte, _ in view)) for at in range(*found.span())}
        view = [each for at, each in enumerate(view) if at not in gone]
        if number in (encodings.OUTSIDE_TAGS, len(encodings.ESCAPES)):
            seen.append(view)
    return seen


def forms(secret: str) -> set[bytes]:
    """Write down all that is masked of a secret: each of its encodings, each piece of a token, its beginning."""
    found: set[bytes] = set()
    for part in {secret, *encodings.parts(secret)}:
        found |= encodings.encodings(part)
        if encodings.is_random(part):
            plain = part.encode()
            found |= {plain[at : at + FRAGMENT] for at in range(len(plain) - FRAGMENT + 1)}
            prefix = next((prefix for prefix in PREFIXES if part.startswith(prefix)), "")
            found |= {plain[:size] for size in range(len(prefix) + HEAD, len(plain)) if prefix}
    return found


FORMS = {secret: forms(secret) for secret in SECRETS}


def search(secrets: frozenset[str], raw: bytes) -> list[tuple[int, int]]:
    """Look for every form at every place."""
    found = []
    for view in views(raw):
        data = bytes(byte for byte, _ in view)
        for form in set().union(*(FORMS[secret] for secret in secrets)):
            at = data.find(form)
            while at >= 0:
                places = [place for _, place in view[at : at + len(form)]]
                if all(after - before <= GAP + 1 for before, after in itertools.pairwise(places)):
                    found.append((places[0], places[-1] + 1))
                at = data.find(form, at + 1)
    return found


@given(texts)
def test_a_few_looks_find_what_a_search_of_every_place_finds(text: str) -> None:
    """However a secret is spelled, cut, or broken up: what is masked is each of its forms, and nothing else."""
    raw = text.encode("utf-8", "surrogatepass")
    expected = [matching.join([*search(matcher.secrets, raw), *matcher._cut_off(raw)]) for matcher in SETS]
    for small in (0, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encodings, "_SMALL", small)
            patch.setattr(matching, "_LARGE", small)
            assert [matcher.spans(raw) for matcher in SETS] == expected


parts = st.sampled_from(
    ["\x1b", "[", "0", "m", "\x1b[0m", "]", "\x07", "\\", "<", "b", ">", "<b>", "/", "\u2502", "\xe2"]
)


@example("\x1b\x1b[0m[0m" * 3, 8)
@given(st.lists(st.one_of(parts, texts)).map("".join), st.sampled_from([1, 8]))
def test_escapes_are_dropped_fast_as_slowly(text: str, few: int) -> None:
    """Whether sequences are dropped one by one or kind by kind, the same is left."""
    squeezed = encodings.squeeze(text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "_SMALL", 0)
        patch.setattr(encodings, "_FEW", few)
        for kind in encodings.ESCAPES:
            assert kind.drop(squeezed) == kind.pattern.sub(b"", squeezed)


def test_a_colour_before_the_end_of_a_token_stays_whole() -> None:
    """Though its last letter could be the token's: ``ESC [0m`` and what follows an ``m`` in the token."""
    secret = "ydRc5kJq/OAzdAM58rby6jhMWfVs6woYNCbmLkT3a8jkib1taCt1ThFNXWoFlW77"
    text = f"\x1b[2m...\x1b[0m{secret[-28:]} b".encode()
    [(start, end)] = Matcher({secret}).spans(text)
    assert (text[:start], text[end:]) == (b"\x1b[2m...\x1b[0m", b" b")


@given(st.lists(texts, min_size=1, max_size=3))
def test_the_end_of_a_view_is_enough(some: list[str]) -> None:
    """What is held back of a stream does not depend on how much of it is looked at closely."""
    raw = "".join(some).encode("utf-8", "surrogatepass")
    for matcher in SETS:
        ends = []
        for end, large in ((1, 0), (256, 0), (1, 1 << 20), (1 << 20, 1 << 20)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(matching, "_END", end)
                patch.setattr(matching, "_LARGE", large)
                ends.append(matcher.scan(raw))
        assert ends == [ends[0]] * 4


def words(count: int, alphabet: str, size: int) -> list[str]:
    chance = random.Random(count)
    return ["".join(chance.choices(alphabet, k=size)) for _ in range(count)]


def looks(matcher: Matcher, text: str) -> int:
    """Count the places that were looked at closely."""
    data = encodings.squeeze(text.encode())
    return sum(1 for index in matcher._indexes for _ in index.hits(data))


def test_ordinary_text_is_passed_over() -> None:
    """Of 2 MB of code, tables, digests and logs, hardly a place is looked at closely because of 200 secrets."""
    alphanumeric = string.ascii_letters + string.digits
    secrets = {f"ghp_{word}" for word in words(100, alphanumeric, 36)} | {*words(100, "0123456789abcdef", 40)}
    assert looks(Matcher(secrets), corpus()) < 20


def test_what_many_secrets_begin_with_is_passed_over() -> None:
    """A hundred links to one host do not make each mention of that host cost thousands of comparisons."""
    link = "https://www.dropbox.com/scl/fo/{}/h?rlkey={}&st=ab&dl=0"
    secrets = {link.format(word[:20], word[20:]) for word in words(100, string.ascii_lowercase + string.digits, 45)}
    text = "".join(link.format("abcdefgh", "x" * 25) + "y" * n for n in range(100))
    matcher = Matcher(secrets)
    assert looks(matcher, text) < 5000
    for secret in sorted(secrets)[:5]:
        for before in range(16):  # wherever it stands
            assert matcher.spans(b"-" * before + secret.encode()) == [(before, before + len(secret))]


@pytest.mark.parametrize("secret", SECRETS)
def test_one_more_secret_is_little_work(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A matcher that begins with another one masks the same, and spells only what is new."""
    spelled = []
    monkeypatch.setattr(matching, "_LARGE", 0)
    base = Matcher({other for other in SECRETS if other != secret})
    spell = encodings.encodings
    monkeypatch.setattr(encodings, "encodings", lambda part: spelled.append(part) or spell(part))
    more = Matcher(set(SECRETS), base)
    assert {*spelled} == {secret, *encodings.parts(secret)}
    text = "\n".join([*SECRETS, TOKEN[3:30], LONG[:20], KEY[:12] + "...", " and words" * 1000]).encode()
    assert more.spans(text) == Matcher(set(SECRETS)).spans(text)
    assert base.spans(secret.encode()) == []
    words = b" and words" * 100
    assert all(matcher.spans(each.encode() + words) for matcher in (more, Matcher(set(SECRETS))) for each in SECRETS)
    fewer = Matcher({secret}, base)
    assert fewer.spans(text) == Matcher({secret}).spans(text)


ORDINARY = {
    "prose": "The quick brown fox jumps over the lazy dog, and then it sleeps.\n" * 100,
    "a log": "2024-05-01 12:00:00,123 INFO trainer epoch=3 loss=0.1234 path=/content/data/train_0001.csv\n" * 100,
    "colours": "\x1b[32m  17\x1b[0m \x1b[1;31mfailed\x1b[0m because of something\n" * 100,
    "code, as a repr": r"'def f(x):\n\treturn g(x) + 1\n\nclass A:\n    pass\n'" * 100,
    "numbers": "0.1234 5.6789 -1.5e-07\n" * 200,
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_text_is_cleared(kind: str) -> None:
    """Prose, logs, colours, code and numbers are cleared at a glance: that is what the prefilter is for."""
    tokens = [f"ghp_{word}" for word in words(100, string.ascii_letters + string.digits, 36)]
    assert Matcher(tokens)._prefilter.clears(ORDINARY[kind].encode())


def test_a_secret_without_capitals_is_not_overlooked() -> None:
    """Where secrets leave nothing when sifted, nothing is ever cleared."""
    for secret in ("hunter2hunter2", "no one is there"):
        assert not Matcher([secret])._prefilter.clears(b"an ordinary sentence")


def prefilter(*pieces: tuple[bytes, int]) -> Prefilter:
    made = Prefilter()
    for encoding, size in pieces:
        made.add(encoding, size)
    return made


def test_two_encodings_that_look_alike_when_sifted() -> None:
    """A piece of a token is seen although another encoding, which is masked only whole, leaves the same characters."""
    token = b"aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgHiJ"
    pieces = (token, FRAGMENT), (token + b"1", len(token) + 1)
    for pair in (pieces, pieces[::-1]):
        assert not prefilter(*pair).clears(token[3 : 3 + FRAGMENT] + b" and words" * 40)


@pytest.mark.parametrize("encoding", [b"abcXdYefgZhiWjVkl", b"aQbWcEdRfTgYhUiOjPkLlKmJ", b"abcdefXghijkl"])
def test_wherever_it_stands_among_other_capitals(encoding: bytes) -> None:
    """However many capitals stand before an encoding, of those that leave few and of those that leave many."""
    made = prefilter((encoding, len(encoding)))
    for before in range(12):
        # Capitals must be rare for the prefilter to be of use.
        assert not made.clears(b"N" * before + encoding + b" some more words" * 30)
        assert made.clears(b"N" * before + b" some more words" * 30)


def test_each_piece_of_a_token_is_seen() -> None:
    """Whichever 24 characters of a token there are, also where it has few capitals."""
    token = b"aBcdefghijklmNopqrstuvwxyzABCDEFGHIJklmnopqrstuVwxyzaBcDEfGhIjK"
    made = prefilter((token, FRAGMENT))
    for start in range(len(token) - FRAGMENT + 1):
        assert not made.clears(token[start : start + FRAGMENT] + b" words" * 60)
    assert made.clears(b"LOSS" + b" words" * 60)


@pytest.mark.parametrize("between", ["", " ", "\n", "\x1b[1m", "\u200b", "\\n", "> ", "<b>"])
def test_the_beginning_of_a_token_is_seen(between: str) -> None:
    """Too few characters to have many capitals, so its prefix is looked for, also broken up."""
    made, rest = Matcher([TOKEN])._prefilter, " and words" * 100
    assert not made.clears((between.join(TOKEN[:12]) + rest).encode())
    assert not made.clears((TOKEN[:2] + between + TOKEN[2:12] + rest).encode())
    assert made.clears(("a ghost p_ and ghp words_" + rest).encode())


def test_a_text_of_look_alikes_is_left_to_the_matcher() -> None:
    """Where a text has the same capitals as a token at every turn, the prefilter soon gives up."""
    made = prefilter((b"aXbYcZdWeUfTgVhViVjV", 20))
    assert made.clears(b"a Verlust of some words " * 80)
    assert not made.clears(b"a Verlust of some words " * 2000)
