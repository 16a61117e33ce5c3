"""What can be configured, and where a value comes from when a call does not say."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from colab_magics.core.common import disk
from colab_magics.core.common.addresses import DROPBOX, is_loopback
from colab_magics.core.common.environment import ENVIRONMENTS
from colab_magics.errors import ColabMagicsError, LinkError

__all__ = ["Settings"]

_PREFIX = "COLAB_MAGICS_"
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}
INSTALLERS: tuple[str, ...] = ("auto", "uv", "pip")


@dataclass(frozen=True)
class Settings:
    """The configuration of one call.

    Attributes
    ----------
    token_file : Path or None
        The JSON file that tokens and secrets are read from; None looks in the default places.
    drive_root : Path or None
        What ``drive:`` paths are under; None uses the mounted Google Drive.
    jobs : int or None
        How many things may run side by side; None decides from the machine.
    quiet : bool
        Show nothing but errors.
    mask : bool
        Mask secrets in everything that the kernel sends.
    installer : {'auto', 'uv', 'pip'}
        What installs packages; ``'auto'`` takes uv when it is there.
    env : str or None
        Overrides the detected environment (``colab``, ``kaggle``, ``linux``, ...).
    dropbox_url : str
        What every Dropbox link is fetched from.
    ask : callable or None
        Asks a person for a secret, hidden, given a prompt; None when nobody is there to answer.
    """

    token_file: Path | None = None
    drive_root: Path | None = None
    jobs: int | None = None
    quiet: bool = False
    mask: bool = True
    installer: str = "auto"
    env: str | None = None
    dropbox_url: str = DROPBOX
    ask: Callable[[str], str] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.installer not in INSTALLERS:
            raise ColabMagicsError(f"installer {self.installer!r} is unknown; use one of {', '.join(INSTALLERS)}")
        if self.jobs is not None and self.jobs < 1:
            raise ColabMagicsError(f"jobs must be 1 or more, not {self.jobs}")
        if self.env is not None and self.env not in ENVIRONMENTS:
            raise ColabMagicsError(f"env {self.env!r} is unknown; use one of {', '.join(ENVIRONMENTS)}")
        base = urlsplit(self.dropbox_url)
        if base.scheme != "https" and not (base.scheme == "http" and is_loopback(base.hostname)):
            raise LinkError(
                f"dropbox_url {self.dropbox_url!r} must be an https:// address (http:// only on this machine): "
                "links grant access and are sent there"
            )

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, /, **given: object) -> Settings:
        """Read the configuration: what is given first, then the environment, then the default.

        Parameters
        ----------
        environ : mapping, optional
            The environment variables; by default the process's.
        **given
            Values for the attributes above; None means not given.

        Returns
        -------
        Settings

        Raises
        ------
        ColabMagicsError
            When a value cannot be what its attribute needs; names the attribute.

        Examples
        --------
        >>> from colab_magics import core
        >>> settings = core.Settings.load({"COLAB_MAGICS_JOBS": "3", "COLAB_MAGICS_QUIET": "1"}, jobs=5)
        >>> settings.jobs, settings.quiet
        (5, True)
        """
        environ = os.environ if environ is None else environ
        values: dict[str, object] = {}
        for known in fields(cls):
            value = given.pop(known.name, None)
            if value is None and known.name != "ask":
                value = environ.get(_PREFIX + known.name.upper()) or None
            if value is not None:
                values[known.name] = _convert(known.name, value)
        disk.check_limits()
        if given:
            raise TypeError(f"unknown settings: {', '.join(given)}")
        return cls(**values)  # type: ignore[arg-type]  # each value was converted for its field above


def _convert(name: str, value: object) -> object:
    if name in {"token_file", "drive_root"}:
        return Path(os.path.expanduser(str(value)))
    if name == "jobs" and isinstance(value, str):
        if not value.strip().isdigit():
            raise ColabMagicsError(f"{_PREFIX}JOBS={value!r} is not a number")
        return int(value)
    if name in {"quiet", "mask"} and isinstance(value, str):
        if value.lower() not in _TRUE | _FALSE:
            raise ColabMagicsError(f"{_PREFIX}{name.upper()}={value!r} is neither 1 nor 0")
        return value.lower() in _TRUE
    return value
