"""What a person sees: JupyterLab and Classic Notebook in a real browser."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import browsers
import nbformat
import pytest
from kernels import holds

from colab_magics import sandbox

pytest.importorskip("selenium", reason="selenium is not installed: it comes with the extras 'browser' and 'classic'")
needs_lab = pytest.mark.skipif(
    not find_spec("jupyterlab"), reason="jupyterlab is not installed: it comes with the extra 'browser'"
)
needs_classic = pytest.mark.skipif(
    not (find_spec("notebook") and find_spec("notebook.notebookapp")),
    reason="notebook 6 is not installed: it comes with the extra 'classic'",
)
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


@needs_lab
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


@needs_lab
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


def contrast(page: browsers.Page, selector: str) -> float:
    """Return the least contrast of a text with what is behind it, as WCAG 2 counts it: 21 is black on white."""
    script = """
        const colour = text => text.match(/[\\d.]+/g).map(Number);
        const behind = element => {
            for (; element; element = element.parentElement) {
                const found = colour(getComputedStyle(element).backgroundColor);
                if (found.length === 3 || found[3] > 0) return found;
            }
            return [255, 255, 255];
        };
        return Array.from(document.querySelectorAll(arguments[0]),
                          one => [colour(getComputedStyle(one).color), behind(one)]);
    """

    def luminance(colour: list[float]) -> float:
        red, green, blue = (c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour[:3])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    pairs = [sorted(map(luminance, pair)) for pair in page.driver.execute_script(script, selector)]
    return min((high + 0.05) / (low + 0.05) for low, high in pairs)


LIVE, FAILED, HELP, TYPED, PROMPT = range(1, 6)


def go_through(page: browsers.Page, file: Path, link: str, proceed: threading.Event, pictures: Path) -> None:
    """Do what a person does on a bad morning, and look at what is shown."""

    def shows(number: int, *words: str) -> str:
        text = page.wait_for_outputs(lambda found: all(word in found[number] for word in words), 60)
        assert all(word in text[number] for word in words), page.texts()[number]
        return page.texts()[number]

    page.start(0)
    page.start(LIVE)
    shows(LIVE, "running", "waiting", "done")
    page.picture(pictures / "live.png")
    page.interrupt()
    shown = shows(LIVE, "run it again")
    page.picture(pictures / "interrupted.png")
    proceed.set()
    page.start(FAILED)
    failed = shows(FAILED, "failed with status 3", "skipped")
    page.picture(pictures / "failed.png")
    assert failed.count("the reason") >= 1
    page.start(HELP)
    help_text = page.help(HELP)
    assert "Make DEST hold what a share link holds." in help_text
    assert "--once" in help_text
    page.picture(pictures / "help.png")
    offered = page.complete(TYPED, "%dropbox_sync --")
    assert {"--once", "--mirror", "--unpack"} <= set(offered)
    assert not {"--abs", "%abs"} & set(offered), "the names of Python"
    page.picture(pictures / "completion.png")
    page.start(PROMPT)
    page.answer(link)
    assert "asked: 1 added" in shows(PROMPT, "asked: 1 added")
    page.picture(pictures / "prompt.png")
    assert contrast(page, "td, th") >= 4.5
    page.save()
    [table, said, error] = nbformat.read(file, 4).cells[LIVE].outputs
    assert said["text"] == "first\n"
    assert error["traceback"] == ["interrupted; run it again to complete it (1 of 3 steps are done)"]
    for text in (shown, table["data"]["text/html"]):
        assert text.count("interrupted") >= 2
        for word in ("running", "waiting", "Traceback"):
            assert word not in text
    key = link.partition("rlkey=")[2][:12]
    assert key not in file.read_text()
    assert key not in " ".join(page.outputs())


def day(lab: browsers.Lab, box: sandbox.Sandbox) -> tuple[Path, str, threading.Event]:
    """Write the notebook for `go_through`; its second cell stops until the event is set."""
    proceed = threading.Event()
    (box.folder("data") / "a.txt").write_text("a" * 100_000)
    link = box.folder_link("data")
    held = box.folder_link("data")
    box.fail(held, delay=proceed, delay_at=10)
    sources = [
        f"{LOAD}\n%env COLAB_MAGICS_DROPBOX_URL={os.environ['COLAB_MAGICS_DROPBOX_URL']}",
        f"%%bootstrap\nrun echo first\ndropbox_sync {held} data\nsymlink data link",
        "%%bootstrap\nrun sh -c 'echo the reason; exit 3'\nsymlink data link",
        "%dropbox_sync?",
        "",
        "%dropbox_sync secret:ASKED_FOR asked",
    ]
    return written(lab, "day", sources), link, proceed


def pictures(tmp_path: Path, name: str) -> Path:
    """Return the folder for what was seen: below that of the variable, else one that pytest removes in the end."""
    return Path(os.environ.get("PYTEST_SCREENSHOTS", tmp_path), name)


@needs_lab
def test_a_bad_morning_in_jupyterlab(lab: browsers.Lab, box: sandbox.Sandbox, tmp_path: Path) -> None:
    """Live rows, one line when stopped, a failure's reason, help, completion, a prompt; all readable in the dark."""
    file, link, proceed = day(lab, box)
    seen = pictures(tmp_path, "jupyterlab")
    try:
        with browsers.opened(lab, file.name, tmp_path) as page:
            go_through(page, file, link, proceed, seen)
            change = (
                "jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'}).then(arguments[0])"
            )
            page.driver.execute_async_script(change)
            page.wait_for("document.body.dataset.jpThemeLight === 'false'")
            for width in (640, 1000, 1600):
                page.driver.set_window_size(width, 1600)
                page.picture(seen / f"dark-{width}.png")
            assert contrast(page, "td, th") >= 4.5
    finally:
        proceed.set()


@needs_classic
def test_a_bad_morning_in_classic(box: sandbox.Sandbox, tmp_path: Path) -> None:
    """The same in the page that Colab's was made from."""
    (tmp_path / "server").mkdir()
    (tmp_path / "browser").mkdir()
    with browsers.classic(tmp_path / "server") as lab:
        file, link, proceed = day(lab, box)
        try:
            with browsers.opened(lab, file.name, tmp_path / "browser", browsers.ClassicPage) as page:
                go_through(page, file, link, proceed, pictures(tmp_path, "classic"))
        finally:
            proceed.set()
