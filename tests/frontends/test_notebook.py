"""Notebooks, executed by a real kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from conftest import Venv
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from colab_magics import sandbox

DEMO = Path(__file__).parents[2] / "demo.ipynb"


@pytest.fixture
def kernel(venv: Venv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel in a virtual environment of its own."""
    spec = tmp_path / "jupyter" / "kernels" / "fresh"
    spec.mkdir(parents=True)
    argv = [str(venv.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "fresh", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return "fresh"


def execute(notebook: nbformat.NotebookNode, kernel: str, folder: Path, **kwargs: object) -> nbformat.NotebookNode:
    client = NotebookClient(
        notebook, kernel_name=kernel, timeout=120, resources={"metadata": {"path": str(folder)}}, **kwargs
    )
    return client.execute()


def cells(*sources: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def shown(cell: nbformat.NotebookNode) -> str:
    """All that a person sees of a cell's output."""
    text = ""
    for output in cell.outputs:
        if output.output_type == "stream":
            text += output.text
        elif output.output_type == "error":
            text += f"{output.ename}: {output.evalue}\n" + "\n".join(output.traceback)
        else:
            text += output.data.get("text/plain", "")
    return text


def plain(text: str) -> str:
    """Leave out what differs from run to run: durations, sizes on the way, ports, commits, folders, line breaks."""
    text = re.sub(r"[^\n]*\r(?!\n)", "", text)  # a line that was written in place
    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    text = re.sub(r"\(([\d.]+ [kMG]?B) in [\d.]+ s\)|\([\d.]+ s\)|,? +[\d.]+ s\b", "", text)
    text = re.sub(r"[\d.]+ [kMG]?B in", "", text)
    text = re.sub(r"127\.0\.0\.1:\d+|localhost:\d+", "HOST", text)
    text = re.sub(r"\([0-9a-f]{7}\)", "(COMMIT)", text)
    text = re.sub(r"(/[\w.-]+)+/demo-\w+", "FOLDER", text)
    text = re.sub(r"\(\d+ B\)", "(SIZE)", text)  # of what training writes, which holds measured numbers
    text = re.sub(r"keeping, \d+ there \([^)]*\)(, last verified at [\d:]+)?", "keeping", text)  # its process has begun
    text = re.sub(r"last verified at [\d:]+", "", text)
    text = re.sub(r"/scl/fo/[^?\s]+\?\S*", "LINK", text)
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def test_the_demo_runs_and_shows_what_it_was_saved_with(kernel: str, tmp_path: Path) -> None:
    """Unattended, on a machine that has none of it, every cell gives what a reader sees in the repository."""
    saved = nbformat.read(DEMO, as_version=4)
    fresh = execute(nbformat.read(DEMO, as_version=4), kernel, tmp_path)
    for before, after in zip(saved.cells, fresh.cells, strict=True):
        if before.cell_type == "code":
            assert plain(shown(after)) == plain(shown(before)), before.source
    text = nbformat.writes(saved) + nbformat.writes(fresh)
    assert not re.search(r"sandbox-[0-9a-f]{16}", text), "the sandbox's token"
    assert not re.search(r"rlkey=\w{8}", text)


def test_a_failed_magic_stops_run_all(kernel: str, tmp_path: Path) -> None:
    """The kernel answers a real error with the class of it; the cells after it do not run, and no stack is shown."""
    notebook = cells("%load_ext colab_magics", "%symlink nowhere link", "print('not reached')")
    with pytest.raises(CellExecutionError) as caught:
        execute(notebook, kernel, tmp_path)
    assert caught.value.ename == "LayoutError"
    error = notebook.cells[1].outputs[0]
    assert error.output_type == "error"
    assert error.traceback == [f"LayoutError: {error.evalue}"]
    assert "does not exist" in error.evalue
    assert notebook.cells[2].outputs == []


def test_a_usage_error_stops_run_all(kernel: str, tmp_path: Path) -> None:
    """A wrong argument is one line on the error stream, and the run stops there too."""
    notebook = cells("%load_ext colab_magics", "%symlink only-one", "print('not reached')")
    with pytest.raises(CellExecutionError):
        execute(notebook, kernel, tmp_path)
    assert "missing: LINK" in shown(notebook.cells[1])
    assert "Traceback" not in shown(notebook.cells[1])
    assert notebook.cells[2].outputs == []


def test_a_missing_secret_does_not_hang_a_notebook_that_nobody_watches(kernel: str, tmp_path: Path) -> None:
    """Where no prompt can be answered the error comes at once and lists where the secret could be."""
    notebook = cells("%load_ext colab_magics", "%dropbox_sync secret:NO_SUCH_LINK x")
    with pytest.raises(CellExecutionError) as caught:
        execute(notebook, kernel, tmp_path)
    assert caught.value.ename == "TokenError"
    assert "COLAB_MAGICS_SECRET_NO_SUCH_LINK" in caught.value.evalue


def test_a_result_is_shown_once(kernel: str, tmp_path: Path, box: sandbox.Sandbox) -> None:
    """The line of a magic stands once in the saved notebook, and the result again where it is asked for."""
    (box.folder("data") / "a.txt").write_text("a")
    notebook = cells(
        "%load_ext colab_magics",
        "link = '''" + box.folder_link("data") + "'''",
        "%dropbox_sync $link proj",
        "_",
        "x = %dropbox_sync $link again\nx",
    )
    execute(notebook, kernel, tmp_path)
    assert [output.output_type for output in notebook.cells[2].outputs] == ["stream"]
    assert shown(notebook.cells[2]).count("proj: 1 added") == 1
    assert [output.output_type for output in notebook.cells[3].outputs] == ["execute_result"]
    assert "proj: 1 added" in shown(notebook.cells[3])
    assert [output.output_type for output in notebook.cells[4].outputs] == ["stream", "execute_result"]
