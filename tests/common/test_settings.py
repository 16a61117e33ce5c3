"""What can be configured, and which source counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from colab_magics.core import Settings
from colab_magics.errors import ColabMagicsError, LinkError


def test_the_call_counts_before_the_environment_and_that_before_the_default() -> None:
    """Every attribute has its variable; an empty variable is none."""
    assert Settings.load({}) == Settings()
    environ = {
        "COLAB_MAGICS_TOKEN_FILE": "~/t.json",
        "COLAB_MAGICS_DRIVE_ROOT": "/drive",
        "COLAB_MAGICS_JOBS": "3",
        "COLAB_MAGICS_QUIET": "yes",
        "COLAB_MAGICS_MASK": "off",
        "COLAB_MAGICS_INSTALLER": "pip",
        "COLAB_MAGICS_ENV": "kaggle",
        "COLAB_MAGICS_DROPBOX_URL": "http://127.0.0.1:8000",
    }
    read = Settings.load(environ)
    assert read == Settings(
        Path.home() / "t.json", Path("/drive"), 3, True, False, "pip", "kaggle", "http://127.0.0.1:8000"
    )
    assert Settings.load(dict.fromkeys(environ, "")) == Settings()
    given = Settings.load(environ, jobs=5, quiet=False, installer="uv", token_file="x", env=None)
    assert (given.jobs, given.quiet, given.installer, given.token_file, given.env) == (
        5,
        False,
        "uv",
        Path("x"),
        "kaggle",
    )
    with pytest.raises(TypeError, match="colour"):
        Settings.load({}, colour="red")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("INSTALLER", "conda", "'conda' is unknown; use one of auto, uv, pip"),
        ("JOBS", "many", "COLAB_MAGICS_JOBS='many' is not a number"),
        ("JOBS", "0", "jobs must be 1 or more"),
        ("QUIET", "maybe", "COLAB_MAGICS_QUIET='maybe' is neither 1 nor 0"),
        ("ENV", "colba", "env 'colba' is unknown; use one of kaggle, colab"),
        ("DROPBOX_URL", "http://dropbox.example.org", "must be an https:// address"),
        ("DROPBOX_URL", "dropbox.com", "must be an https:// address"),
    ],
)
def test_a_value_that_cannot_be_is_named(name: str, value: str, message: str) -> None:
    """With what it can be."""
    with pytest.raises(ColabMagicsError, match=message) as caught:
        Settings.load({f"COLAB_MAGICS_{name}": value})
    assert isinstance(caught.value, LinkError) == (name == "DROPBOX_URL")
