"""masking/ in a kernel like Colab's, which replaces much of what ipykernel's does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Kernel, Said, holds, running

pytest.importorskip("ipykernel")
pytest.importorskip("pty")
pytestmark = pytest.mark.xdist_group("colab")  # one kernel for all of them

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAcDeF"  # made up

# Each lets the token, which is in a variable S and in a file, out of the kernel.
CELLS = {
    "print": "print(S)",
    "print, in two parts": "print(S[:17], end='', flush=True); print(S[17:])",
    "a result": "S",
    "display": "display({'a': S})",
    "an error": "raise ValueError(S)",
    "an error with advice": "raise ImportError(S)",
    "!cmd": "!cat secret",
    "!cmd, its stderr": "!cat secret >&2",
    "!cmd, a variable": "!echo {S}",
    "!cmd, on a terminal": "!test -t 1 && cat secret",
    "!cmd, printing slowly": "!head -c 17 secret; read -t .3 < /dev/zero; tail -c +18 secret",
    "!cmd, in colours": "!sed 's/...../&\\x1b[31m/g' secret",
    "!!cmd": "!!cat secret",
    "%shell": "%shell cat secret",
    "%shell, failing": "%shell cat secret; false",
    "%%shell": "%%shell\ncat secret\necho",
    "a request to the front end": "get_ipython().ask_front_end('x', {'y': S})",
    "the list of executed cells": "get_ipython().history_manager.store_inputs(9001, S, S)\n"
    "get_ipython().history_manager._history_with_cells_as_json()",
    "In": "get_ipython().history_manager.store_inputs(9002, S, S); In[-1]",
}
REQUESTS = {
    "completion": ("complete", ("D['", 3)),
    "inspection": ("inspect", ("S", 1)),
    "inspection that fails": ("inspect", (f"missing_{TOKEN}", 1)),
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("colab")
    (folder / "secret").write_text(TOKEN + "\n")
    with running(folder, module="colab_kernel") as kernel:
        kernel.run(
            "import pathlib\nfrom IPython.display import display\nfrom colab_magics import masking\n"
            "S = pathlib.Path('secret').read_text().strip(); D = {S: 1}"
        )
        yield kernel


def harvest(kernel: Kernel) -> dict[str, Said]:
    said = {name: kernel.run(code) for name, code in CELLS.items()}
    return said | {name: kernel.ask(verb, *arguments) for name, (verb, arguments) in REQUESTS.items()}


def shape(said: Said) -> list[str]:
    # How a stream is cut, and which of two channels is read first, is a matter of time.
    return [kind for kind in said.kinds if kind != "stream" and not kind.endswith("_reply")]


def test_no_secret_gets_out(kernel: Kernel) -> None:
    """What lets a secret out of such a kernel without the mask shows a mask with it, and nothing else is missing."""
    bare = harvest(kernel)
    assert [name for name, said in bare.items() if not holds(said.text, TOKEN)] == []
    kernel.run("masking.arm(get_ipython()); masking.register(S)", silent=True)
    try:
        armed = harvest(kernel)
    finally:
        kernel.run("masking.disarm(get_ipython())", silent=True)
    assert [name for name, said in armed.items() if holds(said.text, TOKEN) or holds(said.text, TOKEN[4:])] == []
    assert [name for name, said in armed.items() if "***" not in said.text] == []
    for name, said in armed.items():
        assert shape(said) == shape(bare[name]), name
    assert armed["an error with advice"].of("error")[0]["error_details"] == {
        "actions": [{"action": "open_url", "action_text": "Install what *** names"}]
    }
    assert armed["an error"].of("execute_reply")[0]["ename"] == "ValueError"
    assert armed["%%shell"].stream("stdout").replace("\r", "") == "***\n\n"
    assert armed["inspection that fails"].of("inspect_reply")[0] == {
        "status": "ok", "found": False, "why": "missing_***",
    }  # fmt: skip


def test_the_extension_arms_such_a_kernel(kernel: Kernel) -> None:
    """Loading the extension is enough: from then on what it reads is masked in what a command prints, too."""
    try:
        said = kernel.run(
            "import os; os.environ['COLAB_MAGICS_SECRET_KEY'] = S\n%load_ext colab_magics\n"
            "from colab_magics import secret\nsecret('KEY') == S\n!cat secret\n"
        )
        assert not said.of("error"), said.text
        assert said.stream("stdout").replace("\r", "") == "***\n"
        assert not holds(json.dumps(kernel.run("S").of("execute_result")), TOKEN)
    finally:
        kernel.run("%unload_ext colab_magics", silent=True)
    assert holds(kernel.run("S").text, TOKEN)


def test_it_is_no_ordinary_kernel(kernel: Kernel) -> None:
    """The kernel under test really is the one that stands in for Colab's."""
    shown = kernel.run("type(get_ipython()).__name__ + ' ' + type(get_ipython().kernel).__name__ + ' ' + __name__")
    assert shown.of("execute_result")[0]["data"]["text/plain"] == "'Shell Kernel __main__'"
    assert (Path(kernel.folder) / "secret").exists()
