"""masking/packing.py: stream messages as JSON."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from colab_magics.masking.ipython.packing import pack_stream


def session(packer: str = "json") -> Any:
    return SimpleNamespace(packer=packer, pack=lambda content: json.dumps(content).encode())


@given(st.sampled_from(["stdout", "stderr"]), st.one_of(st.text(), st.text(st.characters(max_codepoint=127))))
def test_the_content_reads_back_as_it_was(name: str, text: str) -> None:
    """Whatever was printed, a front end reads exactly that."""
    assert json.loads(pack_stream(session(), name, text)) == {"name": name, "text": text}


def test_a_text_of_many_blocks() -> None:
    """Nothing is lost between the blocks of a large text, and a rare character at its end is escaped too."""
    text = 'a "quoted" \\ line\n' * 200_000
    for end in ("", "\x00", "\u20ac", "\x1b[0m"):
        assert json.loads(pack_stream(session(), "stdout", text + end))["text"] == text + end


def test_another_packer_is_used() -> None:
    """A session that packs otherwise (msgpack, orjson) packs streams as well."""
    packed = pack_stream(SimpleNamespace(packer="other", pack=lambda content: repr(content).encode()), "stdout", "x")
    assert packed == b"{'name': 'stdout', 'text': 'x'}"
