"""Damaged blocks, specs and token files: whatever stands in them, the answer is one of our errors."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from ends import ONE_VARIANT
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_magics.core import Settings, bootstrap, export, read_plan, split
from colab_magics.core.git.specs import parse_spec
from colab_magics.core.secrets import tokenfile
from colab_magics.errors import ColabMagicsError

pytestmark = pytest.mark.skipif(ONE_VARIANT, reason="what it tries depends on no version")

BLOCK = """\
\ufeffmount_drive --on colab,kaggle  # a comment
dropbox_sync https://www.dropbox.com/scl/fo/abc/h?rlkey=k0123456789abcdef data --once --include '*.csv'
dropbox_sync secret:LINK proj --sha256 0123456789abcdef --password secret:PASSWORD\r
symlink data "proj/$A in" --force
symlink drive:exp1/working \\
  proj/data/${B}
pip install -r proj/requirements.txt 'six>=1'
private_pip acme/secretlib[plots]@v1.2#subdirectory=x HOST/org/repo git@github.com:a/b.git ./here -e --src code
%run --in proj python -c 'print("$A")' | tee x > y
!ls -l && A=1 env
"""
SPECS = ["acme/lib", "lib", "acme/lib[a,b]@v1#subdirectory=x/y", "https://github.com/acme/lib.git@main", "./pkg[x]"]
SPECS += ["git@github.com:acme/lib.git", "ssh://git@[::1]:22/acme/lib", "drive:pkg", "host.example:8443/a/b@1"]
TOKENS = json.dumps(
    {
        "access_token": "t0123456789abcdef",
        "username": "ann",
        "gitlab.example.org": {"access_token": "u0123456789abcdef"},
        "secrets": {"LINK": "https://www.dropbox.com/scl/fo/abc/h?rlkey=k0123456789abcdef"},
    }
)
JUNK = st.sampled_from(
    [
        *"'\"\\$=[]@#-{,:é",
        *"\\& ${ $(x) %% // .. ~ ~x/ drive: drive:.. secret: :// [::1 -- --on -r null NaN 1e999 true".split(),  # noqa: SIM905 - it reads better
        *("", "\0", "\ud800", "\udc80", "\u2028", "\r", "\n", "\x1b[31m", '{"a":', "9" * 5000, "A" * 5000, "[" * 20000),
    ]
)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """Cut, double, and put junk into a text at a few places."""
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 12)))
        text = text[:begin] + draw(JUNK | st.text(max_size=4) | st.just(text[begin:end] * 2)) + text[end:]
    return text


@given(damaged(BLOCK))
@settings(max_examples=120, deadline=None)
def test_a_damaged_block_gives_our_errors_only(text: str) -> None:
    """Read, planned without a network, exported, and split as a magic's line."""
    values = {"A": "a b", "B": "$x'"}
    for try_it in (
        lambda: read_plan(text, values),
        lambda: export(text),
        lambda: split(text, values),
        lambda: bootstrap(text, variables=values, dry_run=True, settings=Settings(env="linux")),
    ):
        try:
            try_it()
        except ColabMagicsError as error:
            assert str(error)  # noqa: PT017 - any other kind is a failure by itself


@given(st.sampled_from(SPECS).flatmap(damaged))
@settings(max_examples=120, deadline=None)
def test_a_damaged_spec_gives_our_errors_only(text: str) -> None:
    """Whatever is typed for a package."""
    try:
        parse_spec(text, owner="owner")
    except ColabMagicsError as error:
        assert str(error)  # noqa: PT017 - as above


@given(damaged(TOKENS))
@settings(max_examples=120, deadline=None)
def test_a_damaged_token_file_gives_our_errors_only(text: str) -> None:
    """Whatever stands in the file; and no error shows a token of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokens.json")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        os.chmod(path, 0o600)
        try:
            tokenfile.read(Settings(token_file=path))
        except ColabMagicsError as error:
            assert "0123456789abcdef" not in str(error)  # noqa: PT017 - as above
