"""The examples in docstrings run, and the pages in docs/ say what the code says."""

from __future__ import annotations

import ast
import doctest
import inspect
import itertools
import re
from pathlib import Path

import pytest
from test_structure import LAYERS

import colab_magics
from colab_magics import core, sandbox

PACKAGE = Path(colab_magics.__file__).parent
PAGES = Path(__file__).parents[1] / "docs"

FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
FINDER = doctest.DocTestFinder(exclude_empty=True)
PUBLIC = {name: getattr(core, name) for name in core.__all__} | {"sandbox": sandbox}
EXAMPLES = [
    test
    for name, thing in sorted(PUBLIC.items())
    if inspect.isfunction(thing) or inspect.isclass(thing) or inspect.ismodule(thing)
    for test in FINDER.find(thing, name, module=False, globs={})
    if test.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_does_what_it_says(example: doctest.DocTest) -> None:
    """What it shows is what comes."""
    shown: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(example, out=shown.append)
    assert shown == []


def test_what_does_something_has_an_example() -> None:
    """Each function of the public API that a person calls first."""
    first = {"bootstrap", "detect", "expand", "export", "install", "mount_drive", "parse", "read_plan", "symlink"}
    assert first | {"rewrite", "sync"} <= {example.name for example in EXAMPLES}


def messages() -> list[list[str]]:
    """List each text of the source that has 13 fixed characters or more, as the pieces between what is filled in."""
    nodes = [node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    parts = [node.values if isinstance(node, ast.JoinedStr) else [node] for node in nodes]
    texts = ([str(part.value) for part in each if isinstance(part, ast.Constant)] for each in parts)
    return [text for text in texts if len("".join(text)) >= 13]


def test_an_error_that_the_faq_quotes_is_in_the_source() -> None:
    """Who searches for the line that is shown finds it: some message has its fixed words, in this order."""
    blocks = re.findall(r"^```text\n(.*?)^```", (PAGES / "faq.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    quoted = [line for block in blocks for line in block.splitlines()]
    known = messages()
    assert quoted
    assert [line for line in quoted if not any(holds(line, text) for text in known)] == []


def holds(line: str, pieces: list[str]) -> bool:
    """Tell whether the pieces stand in the line, in their order."""
    return all(piece in line for piece in pieces) and bool(re.search(".*".join(map(re.escape, pieces)), line))


def test_the_picture_of_the_layers_shows_each_of_them() -> None:
    """From the top, as `test_structure` has them."""
    picture = (PAGES / "images/layers.svg").read_text("utf-8")
    shown = re.findall(r'class="n" x="\d+" y="(\d+)"[^>]*>(\w+)<', picture)
    height = {name: int(y) for y, name in shown}
    rows = [[height[name.rpartition(".")[2]] for name in row if name not in {"*", "sandbox"}] for row in LAYERS[1:]]
    assert all(max(above) <= min(below) for above, below in itertools.pairwise(rows))
