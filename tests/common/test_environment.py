"""Where are we."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import fakes
import pytest

from colab_magics.core.common.environment import ENVIRONMENTS, child_path, detect


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive", "COLAB_RELEASE_TAG": "release-colab-x"}, "kaggle"),
        ({"COLAB_RELEASE_TAG": "release-colab-x"}, "colab"),
        ({"DATABRICKS_RUNTIME_VERSION": "15.4"}, "databricks"),
        ({"PAPERSPACE_NOTEBOOK_REPO_ID": "r1"}, "paperspace"),
        ({}, "linux"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the last case is Linux's")
def test_each_service_by_its_own_sign(environ: dict[str, str], expected: str) -> None:
    """Kaggle runs Colab's image and is looked for first."""
    assert detect(environ) == expected
    assert expected in ENVIRONMENTS


def test_that_google_colab_can_be_imported_is_no_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kaggle's image has it, and so may any machine; what the user says counts before anything else."""
    fakes.colab(monkeypatch)
    assert detect({}) == detect({"PATH": "x"}) != "colab"
    assert detect({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, override="linux") == "linux"


def test_the_class_of_the_shell_is_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Colab's kernel it lives in google.colab._shell; asking imports no IPython."""
    shell = type("Shell", (), {"__module__": "google.colab._shell"})()
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert detect({}) == "colab"
    monkeypatch.delitem(sys.modules, "IPython")
    assert detect({}) != "colab"
    assert "IPython" not in sys.modules


def test_the_core_imports_neither_ipython_nor_google_colab() -> None:
    """Nor does anything that it imports."""
    code = (
        "import sys, colab_magics.core.packages.install, colab_magics.core.common.drive\n"
        "import colab_magics.core.blocks.runner\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in {'IPython', 'google', 'torch'}))"
    )
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_commands_find_this_interpreter_first() -> None:
    """A kernel in a virtual environment is often not activated."""
    here = str(Path(sys.executable).parent)
    assert child_path({"PATH": f"/bin:{here}:/usr/bin"}).split(os.pathsep) == [here, "/bin", "/usr/bin"]
    assert child_path({}).startswith(f"{here}{os.pathsep}")
