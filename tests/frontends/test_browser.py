"""What a person sees: JupyterLab in a real browser, with and without the mask."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import browsers
import nbformat
import pytest
from kernels import holds

from colab_magics import sandbox

for _module in ("jupyterlab", "ipywidgets", "selenium"):
    pytest.importorskip(_module, reason=f"{_module} is not installed: it comes with the extra 'browser'")
pytestmark = pytest.mark.skipif(
    not (browsers.CHROMIUM and browsers.CHROMIUM_DRIVER),
    reason="no chromium and chromedriver on PATH: Debian's packages chromium and chromium-driver",
)

TOKEN = "ghp_" + "bR7tY2kL9mQ4wX6zC1vN8pS3dF5gH0jAuEoI"  # made up
BASE64 = base64.b64encode(TOKEN.encode()).decode()
#: Not even a part of the secret gets out.
PARTS = (TOKEN[:24], TOKEN[8:32], TOKEN[16:], BASE64[:32], BASE64[16:48])
MASK = "***"

LOAD = "%load_ext colab_magics"
READ = """\
import base64, sys
import colab_magics, ipywidgets
from IPython.display import HTML, Javascript, Markdown, display
secret = colab_magics.secret("DEMO")\
"""
#: The ways to the page: a cell that takes one, and what a leak looks like there.
CHANNELS = {
    "printed": ("print('token', secret)", TOKEN),
    "cut": ("for letter in secret: print(letter, end='', flush=True)", TOKEN),
    "stderr": ("print(secret, file=sys.stderr)", TOKEN),
    "program": ("!echo $COLAB_MAGICS_SECRET_DEMO", TOKEN),
    "base64": ("print(base64.b64encode(secret.encode()).decode())", BASE64),
    "result": ("{'key': secret}", TOKEN),
    "html": ("HTML(f'<b>bold</b> <i>{secret}</i>')", TOKEN),
    "attribute": ('HTML(f\'<a href="#" title="{secret}">a link</a>\')', TOKEN),
    "markdown": ("Markdown(f'some `{secret}`')", TOKEN),
    "script": ("Javascript(f'element.textContent = {secret!r}')", TOKEN),
    "update": ("handle = display('first', display_id=True); handle.update(secret)", TOKEN),
    "widget": ("ipywidgets.HTML(value=f'<u>{secret}</u>')", TOKEN),
    "raised": ("raise ValueError(f'cannot use {secret}')", TOKEN),
}
LAST = "secret; print('the', 'end')"


@dataclass(frozen=True)
class Seen:
    """What was found after a notebook was run and saved in the browser.

    Parameters
    ----------
    outputs : dict of str
        By channel, what the page holds of the cell's outputs.
    tooltip : str
        What JupyterLab says of the variable that holds the secret.
    page, received, saved : str
        The whole page; what its websockets brought; the notebook's file.
    """

    outputs: dict[str, str]
    tooltip: str
    page: str
    received: str
    saved: str


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsers.Lab]:
    """A JupyterLab whose environment holds a secret."""
    with browsers.jupyterlab(tmp_path_factory.mktemp("lab"), COLAB_MAGICS_SECRET_DEMO=TOKEN) as started:
        yield started


def written(lab: browsers.Lab, name: str, sources: list[str], **metadata: object) -> Path:
    """Write a notebook of these cells where `lab` serves it."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, metadata=metadata) for source in sources],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    file = lab.folder / f"{name}.ipynb"
    nbformat.write(notebook, file)
    return file


def look(lab: browsers.Lab, folder: Path, name: str, preparation: list[str], expected: dict[str, str]) -> Seen:
    """Run `preparation`, then every channel until it shows what is expected, then save: all of it in the browser."""
    sources = [*preparation, *(source for source, _ in CHANNELS.values()), LAST]
    # JupyterLab goes on after a cell with this tag, as a person would who runs the next one.
    file = written(lab, name, sources, tags=["raises-exception"])

    def by_channel(outputs: list[str]) -> dict[str, str]:
        return dict(zip(CHANNELS, outputs[len(preparation) : -1], strict=True))

    with browsers.opened(lab, file.name, folder) as page:
        page.run("notebook:run-all-cells")
        outputs = page.wait_for_outputs(
            lambda found: (
                "the end" in found[-1] and all(expected[name] in text for name, text in by_channel(found).items())
            )
        )
        assert "the end" in outputs[-1], outputs
        page.run("tooltip:launch-notebook")  # of the last cell's first word
        page.wait_for("document.querySelector('.jp-Tooltip')?.innerText.includes('Type:')")
        page.run("docmanager:save")
        return Seen(
            outputs=by_channel(outputs),
            tooltip=page.driver.execute_script("return document.querySelector('.jp-Tooltip').innerText"),
            page=page.everything(),
            received=page.received(),
            saved=file.read_text(),
        )


def test_without_the_mask_the_page_and_the_file_show_a_secret(lab: browsers.Lab, tmp_path: Path) -> None:
    """Each way to the page is open as long as the extension is not loaded: there is something to mask."""
    needles = {name: needle for name, (_, needle) in CHANNELS.items()}
    seen = look(lab, tmp_path, "without", [READ], needles)
    for name, needle in needles.items():
        assert holds(seen.outputs[name], needle), name
    assert TOKEN in seen.tooltip
    for place in (seen.page, seen.received, seen.saved):
        assert all(holds(place, part) for part in PARTS)
    assert TOKEN in json.dumps(json.loads(seen.saved)["metadata"]["widgets"]), "the widgets' state is saved"


def test_a_secret_reaches_neither_the_page_nor_the_file(lab: browsers.Lab, tmp_path: Path) -> None:
    """With the extension loaded a mask stands wherever the secret stood; its parts are nowhere."""
    seen = look(lab, tmp_path, "with", [LOAD, READ], dict.fromkeys(CHANNELS, MASK))
    for place in ("page", "received", "saved"):
        for part in PARTS:
            assert not holds(getattr(seen, place), part), place
    for name, shown in seen.outputs.items():
        assert MASK in shown, name
    assert MASK in seen.tooltip
    assert MASK in json.dumps(json.loads(seen.saved)["metadata"]["widgets"])


def test_the_stop_button_leaves_one_line_and_no_row_that_runs(
    lab: browsers.Lab, box: sandbox.Sandbox, tmp_path: Path
) -> None:
    """In the page and in the file that is saved: each row says what it came to, and no stack is shown."""
    silent = threading.Event()
    (box.folder("data") / "a.txt").write_text("a" * 100_000)
    link = box.folder_link("data")
    box.fail(link, delay=silent, delay_at=10)
    block = f"%%bootstrap\nrun echo first\ndropbox_sync {link} data\nsymlink data link"
    sources = [LOAD, f"%env COLAB_MAGICS_DROPBOX_URL={os.environ['COLAB_MAGICS_DROPBOX_URL']}", block, "print('never')"]
    file = written(lab, "stopped", sources)
    try:
        with browsers.opened(lab, file.name, tmp_path) as page:
            # Not waited for: it ends when the block does.
            page.driver.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")
            page.wait_for_outputs(lambda found: "running" in found[2] and "done" in found[2])
            page.run("notebook:interrupt-kernel")
            shown = page.wait_for_outputs(lambda found: "run it again" in found[2])[2]
            page.run("docmanager:save")
    finally:
        silent.set()
    [table, said, error] = nbformat.read(file, 4).cells[2].outputs
    assert said["text"] == "first\n"
    assert error["traceback"] == ["interrupted; run it again to complete it (1 of 3 steps are done)"]
    for text in (shown, table["data"]["text/html"]):
        assert text.count("interrupted") >= 2
        assert "running" not in text
        assert "waiting" not in text
        assert "Traceback" not in text
    assert nbformat.read(file, 4).cells[3].outputs == []
