"""masking/forms.py: how a secret can be spelled."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_magics.masking import forms, looks_like_token

visible = st.text(min_size=8).filter(lambda s: len(forms.squeeze(s.encode("utf-8", "surrogatepass"))) >= 8)
encodable = visible.filter(lambda s: s.isprintable())


def spelled(secret: str, text: str) -> bool:
    squeezed = forms.squeeze(text.encode("utf-8", "surrogatepass"))
    return any(form in squeezed for form in forms.forms(secret))


@given(encodable, st.binary(), st.binary())
def test_base64_is_known_at_every_alignment(secret: str, before: bytes, after: bytes) -> None:
    """Whatever stands around the secret, its base64 holds a form; both alphabets, wrapped or not."""
    data = before + secret.encode() + after
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        assert spelled(secret, encode(data).decode())


@given(encodable)
def test_the_usual_escapes_are_known(secret: str) -> None:
    """JSON, repr, URL quoting and hexadecimal each hold a form, also one inside another."""
    for text in (
        json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret), ascii(secret), quote(secret),
        quote(secret, safe=""), secret.encode().hex(), secret.encode().hex(":"), secret.encode().hex("-"),
        repr(secret.encode()), json.dumps(json.dumps(secret)), repr(json.dumps(secret)), json.dumps(repr(secret)),
    ):  # fmt: skip
        assert spelled(secret, text)


@given(visible)
def test_no_form_is_short(secret: str) -> None:
    """No form is so short that it would occur by chance."""
    assert forms.forms(secret)
    assert min(map(len, forms.forms(secret))) >= 8


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1B2" * 9, "gho_" + "a1B2" * 9, "ghs_" + "a1B2" * 9, "github_pat_" + "a1B2_c" * 12,
        "glpat-" + "a1B2c" * 4, "gldt-" + "a1B2c" * 4, "ATATT3" + "x1-_" * 40 + "=1A2B", "hf_" + "aBcD" * 9,
    ],
)  # fmt: skip
def test_a_token_is_found_in_code(token: str) -> None:
    """A literal with a known prefix and a real length is found wherever it stands in a cell."""
    for source in (token, f"x = '{token}'", f"!git clone https://u:{token}@github.com/a/b", f"a\n{token}\nb"):
        assert looks_like_token(source) == token


@pytest.mark.parametrize(
    "prose",
    [
        "", "a GitHub token starts with ghp_", "if token.startswith('ghp_'): ...", "ghp_xxx", "github_pat_...",
        "ghp_your_token_goes_here_and_nowhere_else", "re.compile(r'ghp_[A-Za-z0-9]{36}')", "glpat-<token>",
        "my_ghp_" + "a", "hf_hub_download(repo_id='a/b')", "hf_transfer", "xghp_" + "a" * 36,
    ],
)  # fmt: skip
def test_prose_about_tokens_is_none(prose: str) -> None:
    """A text that only mentions a prefix is not taken for a token."""
    assert looks_like_token(prose) is None


def test_only_random_words_are_token_like() -> None:
    """Pieces of a link, a passphrase or a PEM block are ordinary text and are not masked by themselves."""
    assert forms.is_token_like("ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF")
    assert not forms.is_token_like("https://www.dropbox.com/scl/fo/abcdefghijkl/h?rlkey=0123456789abcdef")
    assert not forms.is_token_like("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert not forms.is_token_like("correct horse battery staple and more of it")
    assert not forms.is_token_like("a" * 40)
