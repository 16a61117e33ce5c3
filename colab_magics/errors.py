"""What can go wrong, as one family of exceptions.

Each message says what happened, to which link, member or repository, and what to do next. A message passes
the mask when the exception is made, so no exception ever carries a known secret.
"""

from __future__ import annotations

from colab_magics import masking

__all__ = [
    "ArchiveError",
    "ColabMagicsError",
    "InstallError",
    "Interrupted",
    "LayoutError",
    "LinkError",
    "PlanError",
    "StepError",
    "TokenError",
    "TransferError",
]


class ColabMagicsError(Exception):
    """Base of every error that this package raises on purpose.

    Parameters
    ----------
    message : str
        One line, or a few: what happened, to what, and what to do next. Known secrets in it are masked.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(masking.redact(message))

    def _render_traceback_(self) -> list[str]:
        # IPython's protocol for an exception that draws itself: a person sees these lines and no stack,
        # while the kernel still answers a real ``error`` that stops *Run all*.
        return f"{type(self).__name__}: {self}".splitlines()


class LinkError(ColabMagicsError, ValueError):
    """A link cannot be downloaded: not a share link, gone, restricted, or in need of a password."""


class TransferError(ColabMagicsError, OSError):
    """The bytes did not arrive: network, server, traffic limit, or a full or unwritable disk."""


class ArchiveError(ColabMagicsError, ValueError):
    """What arrived is not a whole and safe archive, or not the content that was promised."""


class TokenError(ColabMagicsError, ValueError):
    """A token or another secret is missing, malformed, refused, or was typed where it must not be."""


class InstallError(ColabMagicsError):
    """A package could not be installed."""


class LayoutError(ColabMagicsError, OSError):
    """A path cannot be what was asked for: a folder in a link's place, no drive, no such source."""


class PlanError(ColabMagicsError, ValueError):
    """A bootstrap block is wrong; nothing of it has run."""


class StepError(ColabMagicsError):
    """A step of a bootstrap block failed.

    Parameters
    ----------
    message : str
        The failed line and why it failed.
    result : BootstrapResult, optional
        What every step came to.
    """

    def __init__(self, message: str = "", result: object | None = None) -> None:
        super().__init__(message)
        self.result = result


class Interrupted(KeyboardInterrupt):
    """The person stopped it; as with any KeyboardInterrupt, what comes after it does not run.

    Parameters
    ----------
    kept : str, optional
        What need not be done again.
    result : BootstrapResult, optional
        What every step of a block came to.
    """

    def __init__(self, kept: str = "", result: object | None = None) -> None:
        more = f" ({masking.redact(kept)})" if kept else ""
        super().__init__(f"interrupted; run it again to complete it{more}")
        self.result = result

    def _render_traceback_(self) -> list[str]:
        return [str(self)]
