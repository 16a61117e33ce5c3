"""A sandbox with an account that somebody logged in to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from colab_magics.core import Settings
from colab_magics.core.dropbox import credentials
from colab_magics.core.dropbox.api import Api
from colab_magics.sandbox import Sandbox


@pytest.fixture(autouse=True)
def quick(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once, and no token is left of another test."""
    monkeypatch.setattr(credentials, "_access", {})


@pytest.fixture
def api(box: Sandbox) -> Iterator[Api]:
    """The API, as whoever logged in."""
    box.log_in()
    found = credentials.find(Settings.load())
    assert found is not None
    with Api(found, box.dropbox_url) as made:
        yield made
