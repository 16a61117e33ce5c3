"""Random secrets of every kind, written in every way, cut anywhere: none is seen; ordinary text is left alone."""

from __future__ import annotations

import base64
import csv
import html
import io
import itertools
import json
import pprint
import random
import string
import textwrap
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from masks import known
from ordinary_text import corpus

from colab_magics.masking import StreamMask, looks_like_token, redact
from colab_magics.masking.patterns import encodings

LETTERS = string.ascii_letters + string.digits
BASE64 = LETTERS + "+/"


def words(alphabet: str, size: int) -> st.SearchStrategy[str]:
    # Truly random ones: what shrinks to "aaaa" is no token.
    return st.integers(0, 2**32).map(lambda seed: "".join(random.Random(seed).choices(alphabet, k=size)))


tokens = st.builds(str.__add__, st.sampled_from(["ghp_", "github_pat_", "hf_", "glpat-", ""]), words(LETTERS, 36))
links = words(string.ascii_lowercase + string.digits, 25).map(
    lambda key: f"https://www.dropbox.com/scl/fo/abcd1234/AHx-y?rlkey={key}&st=ab&dl=0"
)
phrases = st.lists(
    st.sampled_from(["correct", "horse", "b\u00e4ttery", 'st"aple', "it's", "a&b", "<tag>", "\u20ac",
                     "\u043a\u043b\u044e\u0447", "100%"]),
    min_size=4, max_size=8,
).map(" ".join).filter(lambda phrase: len(encodings.squeeze(phrase.encode())) >= 16)  # fmt: skip
keys = words(BASE64, 600).map(
    lambda body: "\n".join(["-----BEGIN PRIVATE KEY-----", *textwrap.wrap(body, 64), "-----END PRIVATE KEY-----", ""])
)
accounts = st.builds(
    lambda key, number: json.dumps({"type": "service_account", "private_key_id": number, "private_key": key}, indent=2),
    keys, words("0123456789abcdef", 40),
)  # fmt: skip
secrets = st.one_of(tokens, links, phrases, keys, accounts)


def _csv(text: str) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([text, 1])
    return out.getvalue()


def _box(text: str, width: int = 24) -> str:
    rows = [text[at : at + width] for at in range(0, len(text), width)]
    return "\n".join(f"\u2502 {row:{width}} \u2502" for row in rows)


WAYS: dict[str, Callable[[str], str]] = {
    "plain": str, "repr": repr, "ascii": ascii, "bytes": lambda s: repr(s.encode()), "JSON": json.dumps,
    "JSON, UTF-8": lambda s: json.dumps(s, ensure_ascii=False),
    "JSON twice": lambda s: json.dumps(json.dumps({"a": s})),
    "HTML": html.escape, "HTML in JSON": lambda s: json.dumps(html.escape(s)), "URL": quote, "query": quote_plus,
    "URL component": lambda s: quote(s, safe="!~*'()"), "csv": _csv, "SQL": lambda s: "'" + s.replace("'", "''") + "'",
    "hexadecimal": lambda s: s.encode().hex(), "base64": lambda s: base64.b64encode(b"a" + s.encode()).decode(),
    "base64, lines": lambda s: base64.encodebytes(b"ab" + s.encode()).decode(),
    "base64 of JSON": lambda s: base64.b64encode(json.dumps({"k": s}).encode()).decode(),
    "base32": lambda s: base64.b32encode(b"abc" + s.encode()).decode(),
    "NFC": lambda s: unicodedata.normalize("NFC", s),
    "NFD": lambda s: unicodedata.normalize("NFD", s), "pprint": lambda s: pprint.pformat({"a": [s], "b": 1}, width=30),
    "wrapped": lambda s: textwrap.fill(s, 17), "quoted lines": lambda s: textwrap.indent(textwrap.fill(s, 17), "> "),
    "box": _box, "box, in JSON": lambda s: json.dumps(_box(s), ensure_ascii=False),
    "coloured": lambda s: "\x1b[1m".join(s),
    "spans": lambda s: "".join(f"<b>{html.escape(c)}</b>" for c in s), "list": lambda s: str(list(s)),
}  # fmt: skip


def cores(secret: str) -> list[str]:
    """Return what makes a secret secret: a random word, each line of a key, or all of it."""
    return sorted(encodings.parts(secret)) or [secret]


def survives(secret: str, shown: str) -> list[bytes]:
    """List the encodings of a secret that can still be read in `shown`."""
    squeezed = encodings.squeeze(shown.encode("utf-8", "surrogatepass"))
    views = squeezed, encodings.unescape(squeezed)
    return [
        found for core in cores(secret) for found in encodings.encodings(core) if any(found in view for view in views)
    ]


@settings(max_examples=12)
@pytest.mark.parametrize("way", WAYS)
@given(
    secret=secrets,
    before=st.sampled_from(["", "token: ", "x...", "\u2502 "]),
    after=st.sampled_from(["", "\n", " end"]),
)
def test_no_way_of_writing_shows_a_secret(way: str, secret: str, before: str, after: str) -> None:
    """Tokens, links, phrases, keys of many lines and service accounts leave a mask, and nothing that can be read."""
    with known(secret):
        shown = redact(before + WAYS[way](secret) + after)
        assert not survives(secret, shown)
        assert "***" in shown
        assert shown.startswith(before.rstrip("\u2502 ."))


@settings(max_examples=50)
@given(secrets, st.sampled_from(sorted(WAYS)), st.lists(st.integers(0, 2000), max_size=8))
def test_no_cut_shows_a_secret(secret: str, way: str, places: list[int]) -> None:
    """Nor does any of them when it comes in pieces: a stream shows at most three characters before its mask."""
    text = WAYS[way](secret)
    borders = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    with known(secret):
        mask = StreamMask()
        shown = "".join([mask.feed(text[a:b]) for a, b in itertools.pairwise(borders)] + [mask.flush()])
        assert not survives(secret, shown)
        assert "***" in shown


@given(st.one_of(tokens, links.map(lambda link: link[45:]), keys.map(lambda key: key.split("\n")[2])), st.data())
def test_heads_and_tails(secret: str, data: st.DataObject) -> None:
    """Eight or more characters of a random word are masked beside an ellipsis of any kind, and in a table's cell."""
    word = next((w for w in (secret, *encodings.parts(secret)) if encodings.is_random(w)), "")
    assume(len(word) > 24)
    size = data.draw(st.integers(15, len(word) - 1))
    cut = data.draw(st.sampled_from(["...", "\u2026", "<...>", " [...]", "' ... '", "\x1b[2m...\x1b[0m"]))
    with known(secret):
        assert redact(f"a {word[:size]}{cut}") == f"a ***{cut}"
        assert redact(f"{cut}{word[-size:]} b") == f"{cut}*** b"
        for border in ("\u2502", "|", "\u2551"):
            assert word[15:23] not in redact(f"{border} {word[15:23]} {border} x {border}")


@pytest.mark.parametrize("pieces", [1, 1000])
def test_ordinary_output_comes_out_byte_for_byte(pieces: int) -> None:
    """Of 2 MB of code, tables, digests, pictures and logs nothing is altered by fifty random secrets."""
    chance, text = random.Random(2), corpus()
    armed = [f"ghp_{''.join(chance.choices(LETTERS, k=36))}" for _ in range(20)]
    armed += ["".join(chance.choices("0123456789abcdef", k=40)) for _ in range(10)]
    armed += ["".join(chance.choices(string.ascii_lowercase + string.digits, k=25)) for _ in range(10)]
    armed += [" ".join("".join(chance.choices(string.ascii_lowercase, k=6)) for _ in range(4)) for _ in range(8)]
    key = "\n".join("".join(chance.choices(BASE64, k=64)) for _ in range(12))
    armed += [f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n", f"https://a.example/x?k={key[:25]}"]
    with known(*armed):
        mask, step = StreamMask(), len(text) // pieces + 1
        assert "".join([mask.feed(text[at : at + step]) for at in range(0, len(text), step)] + [mask.flush()]) == text


def test_nothing_ordinary_looks_like_a_token() -> None:
    """No warning is given for digests, identifiers, pictures, or for words about tokens."""
    assert looks_like_token(corpus()) is None
