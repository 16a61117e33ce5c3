"""Where are we: Colab, Kaggle, another notebook service, or a machine of one's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ENVIRONMENTS", "child_path", "detect"]

#: Every name that `detect` can return, and that ``--on`` takes.
ENVIRONMENTS = ("kaggle", "colab", "databricks", "paperspace", "sagemaker", "linux", "macos", "windows")


def detect(environ: Mapping[str, str] | None = None, *, override: str | None = None) -> str:
    """Name the environment that this process runs in.

    The order matters: Kaggle runs Colab's image, so ``google.colab`` can be imported and
    ``COLAB_RELEASE_TAG`` is set there too. In Colab's kernel the shell's class lives in
    ``google.colab._shell``; its child processes have only the release tag.

    Parameters
    ----------
    environ : mapping, optional
        The environment variables; by default the process's.
    override : str, optional
        What the user says it is.

    Returns
    -------
    str
        One of `ENVIRONMENTS`, or `override`.

    Examples
    --------
    >>> from colab_magics import core
    >>> core.detect({"COLAB_RELEASE_TAG": "release"}), core.detect({"KAGGLE_KERNEL_RUN_TYPE": "Batch"})
    ('colab', 'kaggle')
    """
    if override:
        return override
    environ = os.environ if environ is None else environ
    if environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "kaggle"
    if _is_colab_shell() or environ.get("COLAB_RELEASE_TAG"):
        return "colab"
    if environ.get("DATABRICKS_RUNTIME_VERSION"):
        return "databricks"
    if environ.get("PAPERSPACE_NOTEBOOK_REPO_ID"):
        return "paperspace"
    if any(Path(home).is_dir() for home in ("/home/sagemaker-user", "/home/studio-lab-user")):
        return "sagemaker"
    return {"darwin": "macos", "win32": "windows"}.get(sys.platform, "linux")


def _is_colab_shell() -> bool:
    """Tell whether the running shell is Colab's: that ``google.colab`` can be imported tells nothing."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython else None
    return any(kind.__module__ == "google.colab._shell" for kind in type(shell).__mro__)


def child_path(environ: Mapping[str, str] | None = None) -> str:
    """Return the ``PATH`` for the commands we start: this interpreter's folder comes first.

    A kernel in a virtual environment is often not *activated*, and ``python`` would then be another one,
    without the packages that were just installed.
    """
    environ = os.environ if environ is None else environ
    here = str(Path(sys.executable).parent)
    rest = [part for part in environ.get("PATH", os.defpath).split(os.pathsep) if part != here]
    return os.pathsep.join([here, *rest])
