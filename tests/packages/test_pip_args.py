"""What pip's words ask for."""

from __future__ import annotations

import pytest

from colab_magics.core.packages.pip_args import Asked, read_line, read_words


def test_words_are_sorted_by_what_they_ask_for() -> None:
    """However an option and its value are joined; what only says where to look, or how to build, leaves no trace."""
    words = "-q -rone.txt --requirement two.txt -c=x --constraint=three.txt -e ./a --editable=b -i https://x --no-deps"
    asked = read_words([*words.replace("-c=x", "-cx").split(), "--find-links=w", "-Ck=v", "-qqv", "numpy>=1"])
    assert asked == Asked(["numpy>=1"], ["./a", "b"], ["one.txt", "two.txt"], ["x", "three.txt"], no_deps=True)
    assert not asked.is_empty
    assert Asked(constraints=["x"]).is_empty


@pytest.mark.parametrize(
    "words",
    [
        "-U x", "--upgrade x", "--force-reinstall x", "-I x", "--target there x", "-t there x", "--prefix=p x",
        "--root r x", "--report r.json x", "--dry-run x", "--python p x", "--src s x", "--log l x", "--no-such x",
        "x -r", "--pre=1 x", "-q1 x", "--require-hashes -r x", "--group dev",
    ],
)  # fmt: skip
def test_what_may_decide_is_not_passed_over(words: str) -> None:
    """Nor what is unknown, lacks its value, or has one that it cannot have."""
    assert read_words(words.split()) is None


def test_lines_have_options_of_their_own() -> None:
    """A requirement's digests and build options do not count; a path may hold blanks."""
    assert read_line("six==1 --hash=sha256:aa --hash=sha256:bb") == Asked(["six==1"])
    assert read_line('six==1 ; python_version > "3" --config-settings="a=b c"') == Asked(
        ['six==1 ; python_version > "3"']
    )
    assert read_line("-e my folder[x]") == Asked(editables=["my folder[x]"])
    assert read_line("-r more of it.txt") == Asked(files=["more of it.txt"])
    assert read_line("--index-url https://x.org/simple --pre") == Asked()
    assert read_line("--upgrade") is read_line("--index-url 'x") is None
