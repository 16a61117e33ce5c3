"""Stand-ins for what cannot be had outside of Colab and Kaggle, faithful to googlecolab/colabtools and to Kaggle."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from colab_magics.core.secrets import sources


class SecretNotFoundError(Exception):
    """As google.colab.userdata's: there is no secret of that name."""


class NotebookAccessError(Exception):
    """As google.colab.userdata's: the secret is there, but not granted to this notebook."""


class TimeoutException(Exception):  # noqa: N818 - its name
    """As google.colab.userdata's: no Colab page is open to answer."""


class MessageError(Exception):
    """As google.colab._message's: the front end answered with an error."""


def colab(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Make this process a child of a Colab kernel: google.colab can be imported, and the release tag is set."""
    package, module = types.ModuleType("google"), types.ModuleType("google.colab")
    package.__path__, module.__path__ = [], []
    package.colab = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google", package)
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-x")
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    return module


def colab_secrets(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, str | Exception]) -> list[str]:
    """Put google.colab.userdata there; returns the list of the names it is asked for."""
    monkeypatch.setattr(sources, "_unanswered", [])  # another session
    module = types.ModuleType("google.colab.userdata")
    asked: list[str] = []

    def get(key: str) -> str:
        asked.append(key)
        answer = answers.get(key, SecretNotFoundError(f"Secret {key} does not exist."))
        if isinstance(answer, Exception):
            raise answer
        return answer

    module.get = get  # type: ignore[attr-defined]
    for error in (SecretNotFoundError, NotebookAccessError, TimeoutException):
        setattr(module, error.__name__, error)
    colab(monkeypatch).userdata = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab.userdata", module)
    return asked


def kaggle_secrets(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, str]) -> list[str]:
    """Make this process Kaggle's, which runs Colab's image, with its client for secrets; returns the names it hears."""
    colab_secrets(monkeypatch, {})
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    module = types.ModuleType("kaggle_secrets")
    asked: list[str] = []

    class BackendError(Exception):
        pass

    class UserSecretsClient:
        def get_secret(self, label: str) -> str:
            asked.append(label)
            if label not in answers:
                raise BackendError(f"Unexpected response from the service: no user secrets exist for {label}")
            return answers[label]

    module.UserSecretsClient = UserSecretsClient  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kaggle_secrets", module)
    return asked


class Drive:
    """google.colab.drive: asks for consent before it looks whether it is mounted, and wants the main thread.

    Attributes
    ----------
    asked : list of str
        The mountpoints that consent was asked for.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, effect: Callable[[Path], None] | None = None) -> None:
        module = types.ModuleType("google.colab.drive")
        module.mount = self.mount  # type: ignore[attr-defined]
        colab(monkeypatch).drive = module  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "google.colab.drive", module)
        self.asked: list[str] = []
        self._effect = effect or (lambda mountpoint: (mountpoint / "MyDrive").mkdir(parents=True))

    def mount(
        self, mountpoint: str, force_remount: bool = False, timeout_ms: int = 120000, readonly: bool = False
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("mount must run in the main thread")
        self.asked.append(mountpoint)
        if " " in mountpoint:
            raise ValueError("Mountpoint must not contain a space")
        path = Path(mountpoint)
        if path.is_symlink():
            raise ValueError("Mountpoint must not be a symlink")
        if (path / "MyDrive").is_dir() and not force_remount:
            return
        if path.is_dir() and any(path.iterdir()):
            raise ValueError("Mountpoint must not already contain files")
        self._effect(path)
