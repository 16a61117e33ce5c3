"""The family of errors."""

from __future__ import annotations

import pytest
from shells import real_shell

from colab_magics import errors, masking

#: All but the one that is a KeyboardInterrupt, which no `except ColabMagicsError` may catch.
FAMILY = [getattr(errors, name) for name in errors.__all__ if name != "Interrupted"]


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_is_of_the_family(kind: type[Exception]) -> None:
    """One except clause catches all of them; where it fits they are the built-in kind too."""
    assert issubclass(kind, errors.ColabMagicsError)
    built_in = {"LinkError": ValueError, "ArchiveError": ValueError, "TokenError": ValueError, "PlanError": ValueError}
    built_in |= {"TransferError": OSError, "LayoutError": OSError}
    assert issubclass(kind, built_in.get(kind.__name__, Exception))


@pytest.mark.parametrize("kind", FAMILY)
def test_no_error_carries_a_secret(kind: type[Exception]) -> None:
    """A secret in a message is masked when the error is made, so args, str and repr are clean."""
    masking.register("an-error-secret-0123")
    error = kind("it has an-error-secret-0123 in it")
    assert str(error) == "it has *** in it"
    assert "an-error-secret-0123" not in repr(error) + repr(error.args)


def test_a_notebook_shows_the_message_and_no_stack(capsys: pytest.CaptureFixture[str]) -> None:
    """IPython draws the error's own lines, and still reports it as the error of the cell."""
    with real_shell() as shell:
        result = shell.run_cell("from colab_magics.errors import LinkError\nraise LinkError('one\\ntwo')")
    assert type(result.error_in_exec).__name__ == "LinkError"
    captured = capsys.readouterr()
    assert (captured.out + captured.err).strip().splitlines() == ["LinkError: one", "two"]
