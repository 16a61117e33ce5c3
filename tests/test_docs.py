"""The examples in docstrings: each runs by itself, in an empty folder, with nothing but this machine."""

from __future__ import annotations

import doctest
import inspect

import pytest

from colab_magics import core, sandbox

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
