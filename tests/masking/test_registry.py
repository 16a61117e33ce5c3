"""masking/__init__.py, registry.py and matcher.py: whole texts."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from masks import known

from colab_magics import masking
from colab_magics.masking import registry
from colab_magics.masking.patterns import encodings
from colab_magics.masking.patterns.matcher import GAP, Matcher

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF"  # made up

# A secret with asterisks could be spelled anew by a mask and what stands beside it.
characters = st.characters(blacklist_characters="*", blacklist_categories=["Cs"])
secrets = st.text(characters, min_size=8, max_size=40).filter(lambda s: encodings.visible(s) >= 8)
ENDS = encodings.SEPARATORS.decode()
BORDERS = [
    "\u00a0",
    "\u00ad",
    "\u2060",
    "\u3000",
    "\ufeff",
    "&nbsp;",
    "&#160;",
    "\u2502\n\u2502 ",
    " |\n| ",
    "', '",
    '"\n "',
    "\n> ",
    "\n# ",
    "<b>",
    "</span><span class='x'>",
    "\0",
    "\\x00",
]


def survivors(secret: str, text: str) -> list[bytes]:
    squeezed = encodings.squeeze(text.encode("utf-8", "surrogatepass"))
    views = squeezed, encodings.unescape(squeezed)
    return [form for form in encodings.encodings(secret) if any(form in view for view in views)]


@given(secrets, st.data())
def test_the_secret_goes_and_nothing_else(secret: str, data: st.DataObject) -> None:
    """Around a secret, every character stays as it was."""
    around = st.text(characters.filter(lambda c: c not in secret))
    before, after = data.draw(around), data.draw(around)
    with known(secret):
        shown = secret.strip(ENDS)  # quotes and the like at its ends are left
        margin = secret.split(shown)
        assert masking.redact(before + secret + after) == before + margin[0] + "***" + margin[-1] + after


@given(secrets, st.text(characters), st.text(characters), st.data())
def test_no_form_survives(secret: str, before: str, after: str, data: st.DataObject) -> None:
    """Whatever the surrounding text and the spelling, no form is left."""
    form = data.draw(st.sampled_from(sorted(encodings.encodings(secret)))).decode("utf-8", "replace")
    assume("\ufffd" not in form)
    with known(secret):
        assert not survivors(secret, masking.redact(before + form + after))


@given(
    secrets,
    st.sampled_from([" ", "\n", "\r\n    ", "\x1b[31m", "\x1b[0m\x1b[1;32m", "\\n", "\x1b]0;title\x07", *BORDERS]),
)
def test_a_secret_broken_up_is_found(secret: str, separator: str) -> None:
    """White space, line breaks and colours between all its characters do not hide a secret."""
    assume(not any(c in "\\\x1b<>\u00ad\u2060\ufeff" or c.isspace() for c in secret))
    with known(secret):
        assert masking.redact(f"({separator.join(secret.strip(ENDS))})") == "(***)"


@given(st.binary(), st.binary())
def test_bytes_keep_their_length(before: bytes, after: bytes) -> None:
    """Binary data is overwritten in place, so offsets into it stay true."""
    with known(TOKEN):
        data = before + TOKEN.encode() + after
        masked = masking.redact_bytes(data)
        assert len(masked) == len(data)
        assert TOKEN.encode() not in masked
        assert masked.startswith(before)
        assert masked.endswith(after)


@given(st.text())
def test_ordinary_text_is_not_touched(text: str) -> None:
    """Text in which no secret stands comes back as it is."""
    with known(TOKEN, "correcthorse", "p\u00e4ssw\u00f6rt\u20ac!"):
        assert masking.redact(text) == text


def test_pieces_of_a_token() -> None:
    """A recognisable head, or any long piece, of a random token is masked; a short one is ordinary text."""
    with known(TOKEN, "a-secret-without-a-prefix"):
        assert masking.redact(f"{TOKEN[:12]}...") == "***..."
        assert masking.redact(f"x{TOKEN[10:36]}x") == "x***x"
        assert masking.redact(f"<{TOKEN[-25:]}>") == "<***>"
        for text in ("ghp_ ghp_aB3 is short", TOKEN[10:25], "a-secret-without", "a-secret-"):
            assert masking.redact(text) == text


def test_separators_are_bounded() -> None:
    """Characters that stand far apart are no secret, so that a stream need not wait for ever."""
    with known(TOKEN):
        near, far = (" " * n for n in (GAP, GAP + 1))
        assert masking.redact(near.join(TOKEN)) == "***"
        assert masking.redact(far.join(TOKEN)) == far.join(TOKEN)


def test_overlapping_secrets_leave_nothing() -> None:
    """Where secrets overlap, all of them are masked, by one mask."""
    with known("abcdefghij", "ghijklmnop", "abcdefgh"):
        assert masking.redact("<abcdefghijklmnop>") == "<***>"
        assert masking.redact("<abcdefgh><ghijklmnop>") == "<***><***>"


def test_large_and_hostile_texts() -> None:
    """A megabyte of what provokes backtracking, and secrets across internal block borders, are dealt with."""
    with known(TOKEN, "a" * 12, "ab" * 10):
        for text in ("\\" * 10**6, "\x1b[" * 10**5, "ghp_" * 10**5, "\x1b]" * 10**5):
            assert masking.redact(text) == text
        assert masking.redact("a" * 10**5) == "***"
        for start in range(65_500, 65_560, 7):
            assert (
                masking.redact("- " * (start // 2) + TOKEN + " -" * 70_000)
                == "- " * (start // 2) + "***" + " -" * 70_000
            )


def test_registration() -> None:
    """Short secrets are refused without being named; registering twice is registering once."""
    with known():
        with pytest.raises(ValueError, match="8 characters") as caught:
            masking.register("hunter2")
        assert "hunter2" not in str(caught.value)
        with pytest.raises(ValueError, match="8 characters"):
            masking.register("a b c d\n\n\n")
        assert masking.redact(TOKEN) == TOKEN
        masking.register(TOKEN)
        masking.register(TOKEN)
        assert masking.redact(TOKEN) == "***"


def test_temporary_secrets_are_forgotten_and_others_are_not() -> None:
    """After a thousand download addresses a user's secret is still masked, and there is no more to compare with."""
    words = [f"{n:05d}-temporary-{n * 7919:09d}-address" for n in range(1000)]
    with known(TOKEN):
        for word in words[: registry.TEMPORARY]:
            masking.register(word, temporary=True)
        matcher = registry.matcher()
        assert matcher is not None
        size = len(matcher._known)
        masking.register(words[3], temporary=True)
        assert registry.matcher() is matcher
        for word in words:
            masking.register(word, temporary=True)
        assert masking.redact(f"{TOKEN} {words[-1]} {words[-registry.TEMPORARY]}") == "*** *** ***"
        assert masking.redact(words[-registry.TEMPORARY - 1]) == words[-registry.TEMPORARY - 1]
        matcher = registry.matcher()
        assert matcher is not None
        assert len(matcher._known) == size


def test_a_temporary_secret_that_is_read_stays() -> None:
    """What was first seen as a download address and then read as a secret is never forgotten."""
    with known():
        masking.register(TOKEN, temporary=True)
        masking.register(TOKEN)
        masking.register(TOKEN, temporary=True)
        for n in range(registry.TEMPORARY + 1):
            masking.register(f"{n:05d}-temporary-address-{n}", temporary=True)
        assert masking.redact(TOKEN) == "***"


def test_a_temporary_secret_that_comes_again_counts_from_then() -> None:
    """Those that were not seen for longest are forgotten first."""
    with known():
        masking.register(TOKEN, temporary=True)
        for n in range(registry.TEMPORARY - 1):
            masking.register(f"{n:05d}-temporary-address-{n}", temporary=True)
        masking.register(TOKEN, temporary=True)
        masking.register("another-temporary-address", temporary=True)
        assert masking.redact(TOKEN) == "***"
        assert masking.redact("00000-temporary-address-0") == "00000-temporary-address-0"


def test_threads_register_and_mask_at_once() -> None:
    """What one thread registers is masked in every thread from then on."""
    names = [f"secret-number-{n:03d}-{n * 7919:07d}" for n in range(40)]
    wrong: list[str] = []

    def work(name: str) -> None:
        masking.register(name)
        wrong.extend(name for _ in range(20) if name in masking.redact(f"a {name} b"))

    with known():
        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert masking.redact(" ".join(names)).strip("* ") == ""


def test_a_failing_mask_withholds(monkeypatch: pytest.MonkeyPatch) -> None:
    """If masking raises, the text is not shown, and a sentence says why."""

    def fail(*_: object) -> None:
        raise RuntimeError(TOKEN)

    with known(TOKEN):
        monkeypatch.setattr(Matcher, "_clears", fail)
        for shown in (masking.redact("harmless text"), masking.StreamMask().feed("harmless text")):
            assert "withheld" in shown
            assert "RuntimeError" in shown
            assert "harmless" not in shown
            assert TOKEN not in shown
        assert masking.redact_bytes(b"harmless") == b"********"


def test_importing_is_light() -> None:
    """The package imports neither IPython nor ipykernel nor zmq: errors and the command line use it too."""
    # The package's own __init__ is left out: what it imports is another matter.
    code = f"""
import sys, types
package = sys.modules["colab_magics"] = types.ModuleType("colab_magics")
package.__path__ = [{str(Path(masking.__file__).parent.parent)!r}]
import colab_magics.masking
print([name for name in ("IPython", "ipykernel", "zmq") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_registered_costs_nothing() -> None:
    """Without secrets no matcher is made, and texts pass as the same object."""
    with known():
        text = "x" * 100
        assert masking.redact(text) is text
        assert registry.matcher() is None
