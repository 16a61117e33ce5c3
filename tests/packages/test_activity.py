"""What an installer is doing, from what it prints."""

from __future__ import annotations

import pytest

from colab_magics.core.common.progress import Silent
from colab_magics.core.packages.activity import doing, teller


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Collecting torch>=2 (from -r r.txt (line 1))", "collecting torch"),
        ("Collecting secretlib@ git+https://github.com/acme/secretlib@0f1f457", "collecting secretlib"),
        ("  Downloading torch-2.9.0-cp312-cp312-manylinux_2_28_x86_64.whl.metadata (29 kB)", "downloading torch 29 kB"),
        ("Downloading torch-2.9.0-cp312-cp312-manylinux_2_28_x86_64.whl (780.4 MB)", "downloading torch 780.4 MB"),
        ("Downloading torch (744.2MiB)", "downloading torch 744.2 MiB"),
        ("  Cloning https://github.com/acme/secretlib.git (to revision 0f1) to /tmp/x", None),
        ("  Cloning https://github.com/acme/secretlib.git to /tmp/x", "cloning secretlib"),
        ("  Building wheel for secretlib (pyproject.toml): started", "building secretlib"),
        ("  Building editable for secretlib (pyproject.toml): started", "building secretlib"),
        ("   Building secretlib @ git+https://github.com/acme/secretlib@0f1f457", "building secretlib"),
        ("Installing collected packages: six, secretlib", "installing six, secretlib"),
        ("Prepared 12 packages in 3.4s", "installing 12 packages"),
        ("Requirement already satisfied: six in /x", None),
        ("Successfully installed six-1.17.0", None),
    ],
)
def test_a_line(line: str, told: str | None) -> None:
    """pip's and uv's lines; those that tell of no work say nothing."""
    assert doing(line) == told


def test_the_last_thing_of_a_piece_is_told() -> None:
    """Pieces end anywhere; a list of packages is cut."""

    labels: list[str] = []

    class Heard(Silent):
        def begin(self, label: str, total: int | None = None) -> None:
            labels.append(label)

    take = teller(Heard())
    many = f"Installing collected packages: {'x, ' * 40}\n"
    for piece in ("Collecting a\nColl", "ecting b\n", "Requirement\n", many):
        take(piece)
    assert labels[:2] == ["collecting a", "collecting b"]
    assert labels[2].endswith("...")
    assert len(labels) == 3
