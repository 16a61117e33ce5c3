"""Take the pictures of the README from a real JupyterLab in a real browser: ``python docs/screenshots.py [FOLDER]``.

It needs Debian's packages chromium and chromium-driver, and the extras ``browser`` and ``docs``. What the notebook
fetches comes from the sandbox, on this machine; the packages that it installs are removed at the end.
"""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from PIL import Image

from colab_magics import sandbox

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

import browsers  # noqa: E402 - it lies in the folder above

LONGEST = 0.7  # seconds that a picture of the animation stays: nobody wants to watch pip
SIZE = (960, 1500)  # of the window, in CSS pixels
TRAIN = """\
import csv, pathlib, time
import secretlib

points = []
for path in sorted(pathlib.Path("data/input").glob("*.csv")):
    with path.open() as file:
        points += [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
for epoch in range(1, 4):
    time.sleep(0.4)
    print(f"epoch {epoch}: loss {0.9 / epoch:.3f}")
slope, intercept = secretlib.fit_line(points)
print(f"{len(points)} points: y = {slope:.2f} x + {intercept:.2f}")
"""
FIT = """\
from secretcore import mean

def fit_line(points):
    mx, my = mean(x for x, _ in points), mean(y for _, y in points)
    slope = sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)
    return slope, my - slope * mx
"""
BLOCK = """\
%%bootstrap
dropbox_sync secret:DATASET_LINK dataset --once
dropbox_sync secret:PROJECT_LINK proj
symlink dataset proj/data/input
keep proj/results drive:exp1
pip install -r proj/requirements.txt
private_pip acme/secretlib@v1.0
run --in proj python train.py"""


@contextmanager
def filled() -> Iterator[sandbox.Sandbox]:
    """Start a sandbox with a dataset of 40 MB, which comes in pieces, a project and two private packages."""
    with sandbox.start() as box:
        dataset, project = box.folder("dataset"), box.folder("project")
        for part in range(40):
            rows = "".join(f"{x},{2 * x + 1 + (x * 7919 % 11 - 5) / 50:.3f}\n" for x in range(part, part + 50))
            (dataset / f"part-{part:02}.csv").write_text("x,y\n" + rows)
            (dataset / f"image-{part:02}.raw").write_bytes(bytes(1_000_000))
        (project / "train.py").write_text(TRAIN)
        (project / "requirements.txt").write_text("packaging\ntraitlets>=5\n")
        core = box.private_repo("acme/secretcore", tag="v1.0", code="def mean(values):\n    values = list(values)\n"
                                "    return sum(values) / len(values)\n")  # fmt: skip
        box.private_repo("acme/secretlib", tag="v1.0", requires=[f"secretcore @ git+{core.ssh_url}@v1.0"], code=FIT)
        link = box.folder_link("dataset", method="stored")
        box.fail(link, delay=1.5, delay_at=26_000_000)
        box.add_secret("DATASET_LINK", link)
        box.add_secret("PROJECT_LINK", box.folder_link("project"))
        yield box


def shot(page: browsers.Page, selector: str) -> Image.Image:
    """Return the part of the page from the top of the first cell to the end of what `selector` finds."""
    script = """
        const all = Array.from(document.querySelectorAll(arguments[0]), one => one.getBoundingClientRect());
        return [Math.min(...all.map(r => r.left)), Math.min(...all.map(r => r.top)),
                Math.max(...all.map(r => r.right)), Math.max(...all.map(r => r.bottom))]
    """
    left, top, right, bottom = page.driver.execute_script(script, selector)
    clip = {"x": left, "y": top, "width": right - left, "height": bottom - top, "scale": 1}
    taken = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})
    return Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG with a palette, which is a third as large and looks the same."""
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def save_animation(frames: list[tuple[float, Image.Image]], path: Path) -> None:
    """Write pictures, each with the second at which it was taken, as a GIF that ends with a rest."""
    size = (max(one.width for _, one in frames), max(one.height for _, one in frames))
    background = frames[-1][1].getpixel((0, 0))
    even, last = [], Image.new("RGB", size, background)
    last.paste(frames[-1][1], (0, 0))
    palette = last.quantize(48, dither=Image.Dither.NONE)
    for _, one in frames:
        full = Image.new("RGB", size, background)
        full.paste(one, (0, 0))
        even.append(full.quantize(palette=palette, dither=Image.Dither.NONE))
    ends = [second for second, _ in frames[1:]] + [frames[-1][0] + 4]
    ends[:-1] = [min(end, begin + LONGEST) for (begin, _), end in zip(frames, ends[:-1], strict=False)]
    durations = [max(60, round(1000 * (end - begin))) for (begin, _), end in zip(frames, ends, strict=True)]
    even[0].save(path, save_all=True, append_images=even[1:], duration=durations, loop=0, optimize=True)


def main(folder: Path) -> None:
    """Write the pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, filled() as box:
        work = Path(scratch)
        (work / "lab").mkdir()
        (work / "browser").mkdir()
        (work / "drive").mkdir()
        environ = {"COLAB_MAGICS_DRIVE_ROOT": str(work / "drive")}
        block = BLOCK.replace("acme/", f"{box.git_host}/acme/")
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in ("%load_ext colab_magics", block)],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        with browsers.jupyterlab(work / "lab", **environ) as lab, browsers.chromium(work / "browser") as driver:
            nbformat.write(notebook, lab.folder / "day.ipynb")
            driver.set_window_size(*SIZE)
            driver.get(f"{lab.address}/lab/workspaces/day/tree/day.ipynb?token={lab.token}")
            page = browsers.Page(driver)
            page.run("application:toggle-left-area")
            driver.execute_script("""
                const style = document.createElement('style');
                style.textContent = '.jp-cell-menu, .jp-cell-toolbar, .jp-Notebook-footer { display: none !important }';
                document.head.append(style);
            """)
            done = "document.querySelectorAll('.jp-InputPrompt')[1]?.innerText === '[2]:'"
            driver.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")
            page.wait_for("document.querySelector('.jp-OutputArea table')")
            frames: list[tuple[float, Image.Image]] = []
            ended = False
            while not ended:
                ended = bool(driver.execute_script(f"return Boolean({done})"))
                picture = shot(page, ".jp-Notebook .jp-CodeCell")
                if not frames or picture.tobytes() != frames[-1][1].tobytes():
                    frames.append((time.monotonic(), picture))
                threading.Event().wait(0.1)
            save_animation(frames, folder / "bootstrap.gif")
            for theme, name in (("JupyterLab Light", "report"), ("JupyterLab Dark", "report-dark")):
                change = (
                    "jupyterapp.commands.execute('apputils:change-theme', {theme: arguments[0]}).then(arguments[1])"
                )
                driver.execute_async_script(change, theme)
                threading.Event().wait(1)  # a theme's styles come as a file, and fade in
                save(shot(page, ".jp-Notebook .jp-CodeCell"), folder / f"{name}.png")
    command = [sys.executable, "-m", "pip", "uninstall", "-q", "-y", "secretlib", "secretcore"]
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "images")
