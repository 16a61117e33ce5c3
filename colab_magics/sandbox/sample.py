"""A sandbox with something in it: a dataset, a project and two private packages that belong together."""

from __future__ import annotations

import shlex

from colab_magics.sandbox.box import Sandbox

__all__ = ["fill", "serve"]

_TRAIN = '''\
"""Fit a line to the dataset's points."""

import csv
import pathlib

import secretlib

rows = []
for path in sorted(pathlib.Path("data/input").glob("**/*.csv")):
    with path.open() as lines:
        rows += [(float(row["x"]), float(row["y"])) for row in csv.DictReader(lines)]
slope, intercept = secretlib.fit(rows)
report = f"{len(rows)} points: y = {slope:.2f} x + {intercept:.2f}"
print(report)
working = pathlib.Path("data/working")
if working.is_dir():
    (working / "model.txt").write_text(report + "\\n")
'''

_FIT = '''\
from secretcore import mean


def fit(points):
    """Return slope and intercept of the least-squares line through `points`, pairs of x and y."""
    x_mean, y_mean = mean([x for x, _ in points]), mean([y for _, y in points])
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)
    return slope, y_mean - slope * x_mean
'''

_MEAN = '''\
def mean(values):
    """Return the arithmetic mean of `values`."""
    return sum(values) / len(values)
'''


def fill(box: Sandbox) -> dict[str, str]:
    """Put the sample into a sandbox.

    Parameters
    ----------
    box : Sandbox
        It gets the folders ``dataset`` and ``project``, the repositories ``acme/secretcore`` and
        ``acme/secretlib`` (which requires the former by its ``ssh://`` address, tag ``v1.0``), and the secrets
        ``DATASET_LINK`` and ``PROJECT_LINK``.

    Returns
    -------
    dict of str to str
        The two links by the names of their secrets.
    """
    dataset = box.folder("dataset")
    for year in (2021, 2022, 2023):
        folder = dataset / str(year)
        folder.mkdir(exist_ok=True)
        for part in range(4):
            # A line with a fixed, small disturbance: the same points in every sandbox.
            rows = [f"{x},{2 * x + 1 + ((x * 37 + year + part) % 11 - 5) / 10:.1f}" for x in range(100)]
            (folder / f"part{part}.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    (dataset / "README.txt").write_text("Points near the line y = 2 x + 1.\n")
    project = box.folder("project")
    (project / "code").mkdir(exist_ok=True)
    (project / "code" / "train.py").write_text(_TRAIN)
    (project / "requirements.txt").write_text("packaging\n")
    core = box.private_repo(f"{box.username}/secretcore", code=_MEAN, tag="v1.0")
    needs = [f"secretcore @ git+{core.ssh_url}"]
    box.private_repo(f"{box.username}/secretlib", code=_FIT, requires=needs, tag="v1.0")
    links = {"DATASET_LINK": box.folder_link(dataset), "PROJECT_LINK": box.folder_link(project)}
    for name, link in links.items():
        box.add_secret(name, link)
    return links


def serve() -> tuple[Sandbox, list[str]]:
    """Start a sandbox with a sample in it, for use from a shell.

    Returns
    -------
    box : Sandbox
        Running; call its ``stop()``.
    lines : list of str
        What to tell the user: lines for a shell that point it at the sandbox, and commands to try. They hold
        no secret: links and token are in the token file.
    """
    box = Sandbox(activate=False)
    try:
        fill(box)
    except BaseException:
        box.stop()
        raise
    lines = [
        f"export COLAB_MAGICS_DROPBOX_URL={shlex.quote(box.dropbox_url)}",
        f"export COLAB_MAGICS_TOKEN_FILE={shlex.quote(str(box.token_file))}",
        "",
        "# in another terminal, after these two lines:",
        "colab-magics sync secret:DATASET_LINK dataset --once",
        "colab-magics sync secret:PROJECT_LINK project",
        "colab-magics symlink dataset project/data/input",
        f"colab-magics pip {box.git_host}/{box.username}/secretlib@v1.0",
        "(cd project && python code/train.py)",
    ]
    return box, lines
