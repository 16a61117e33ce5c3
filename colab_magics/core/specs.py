"""What a person types for a private package -> which repository, ref and part is meant. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote

from colab_magics import masking
from colab_magics.core.links import is_loopback
from colab_magics.errors import InstallError, TokenError

__all__ = ["Spec", "canonical", "parse_spec"]

_GITHUB = "github.com"
_FOLDER = re.compile(r"^(\.{1,2}(/|$|\[)|/|~|drive:)")
_TAIL = re.compile(
    r"^(?P<path>[^@\[\]#?\s]+?)/?(?:\[(?P<extras>[^\]]*)\])?(?:@(?P<ref>[^#\s]+))?(?:#(?P<fragment>\S*))?$"
)
_NAME = re.compile(r"^[\w.~-]+$")


@dataclass(frozen=True)
class Spec:
    """A package to install, understood.

    Attributes
    ----------
    text : str
        What was typed.
    host : str
        The git host, with its port where it has one; empty for a folder.
    path : str
        The repository's path on the host without ``.git``; for a folder the folder.
    ref : str or None
        The branch, tag or commit; None means the default branch.
    extras : tuple of str
        The optional parts.
    subdirectory : str or None
        Where the project lies in the repository.
    """

    text: str
    host: str
    path: str
    ref: str | None = None
    extras: tuple[str, ...] = ()
    subdirectory: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder on this machine."""
        return not self.host

    @property
    def url(self) -> str:
        """The address that git fetches from, without credentials."""
        scheme = "http" if is_loopback(self.host.partition(":")[0]) else "https"
        # Azure DevOps knows no .git suffix; every other host has it, and some redirect without.
        suffix = "" if "/_git/" in f"/{self.path}" else ".git"
        return f"{scheme}://{self.host}/{self.path}{suffix}"

    @property
    def shown(self) -> str:
        """The repository as messages call it."""
        return self.path if self.host in {"", _GITHUB} else f"{self.host}/{self.path}"


def parse_spec(text: str, *, owner: str | None = None) -> Spec:
    """Understand what a person typed for a package.

    Parameters
    ----------
    text : str
        ``org/repo``, ``repo``, ``org/repo[extra]@REF#subdirectory=DIR``, ``HOST/org/repo``, an ``https://`` or
        ``git@HOST:`` address, or a folder (``./pkg``, ``drive:pkg``).
    owner : str, optional
        Whose repository a bare ``repo`` is.

    Returns
    -------
    Spec

    Raises
    ------
    InstallError
        When it is none of these; says what is.
    TokenError
        When it holds a token.
    """
    text = text.strip()
    literal = masking.looks_like_token(text)
    if literal or re.match(r"^\w[\w+.-]*://[^/@]*:[^/@]+@", text):
        raise TokenError(
            "a token was typed inside a package's address, so it is now in this notebook: revoke it, make a new one, "
            "and give the address without it"
        )
    if _FOLDER.match(text):
        match = re.fullmatch(r"(?P<path>.+?)(?:\[(?P<extras>[^\]/]*)\])?", text)
        return Spec(text, "", match["path"] if match else text, extras=_extras(match and match["extras"]))

    host, rest = _split_host(text)
    match = _TAIL.match(rest)
    if not match:
        raise _unknown(text)
    parts = [part for part in match["path"].removesuffix(".git").split("/") if part]
    if not host and len(parts) >= 3 and re.search(r"[.:]|^localhost$", parts[0]):
        host, *parts = parts
    if not host:
        host = _GITHUB
        if len(parts) == 1:
            if not owner:
                raise InstallError(
                    f'whose {text!r}? Give it as owner/{parts[0]}, or put "username" into the token file '
                    f"(a folder is given as ./{parts[0]})"
                )
            parts = [owner, *parts]
    if len(parts) < 2 or (host == _GITHUB and len(parts) != 2) or not all(map(_NAME.match, map(unquote, parts))):
        raise _unknown(text)
    subdirectory = _subdirectory(text, match["fragment"])
    return Spec(text, host.lower(), "/".join(parts), match["ref"], _extras(match["extras"]), subdirectory)


def canonical(url: str) -> str:
    """Return a repository's address in the one form in which two addresses of it are equal."""
    host, rest = _split_host(url.removeprefix("git+"))
    path = rest.partition("#")[0].rstrip("/").removesuffix(".git")
    return f"{host}/{path}".lower()


def _split_host(text: str) -> tuple[str, str]:
    """Split an address into its host and the rest; the host is empty when the text has none."""
    text = text.removeprefix("git+")
    if match := re.match(r"^(?P<scheme>https?|ssh|git)://(?:[^/@]*@)?(?P<host>[^/@]+)/(?P<rest>.*)$", text):
        if match["scheme"] == "http" and not is_loopback(match["host"].partition(":")[0]):
            raise InstallError(f"{text!r} is not https; a token is only sent over https")
        return match["host"], match["rest"]
    if match := re.match(r"^[\w.-]+@(?P<host>[\w.-]+):(?P<rest>.+)$", text):
        return match["host"], match["rest"]
    return "", text


def _extras(text: str | None) -> tuple[str, ...]:
    return tuple(sorted({extra.strip() for extra in (text or "").split(",")} - {""}))


def _subdirectory(text: str, fragment: str | None) -> str | None:
    for part in (fragment or "").split("&"):
        key, _, value = part.partition("=")
        if key == "subdirectory":
            folder = os.path.normpath(unquote(value))
            if folder.startswith(("/", "..")):
                raise InstallError(f"{text!r}: the subdirectory leaves the repository")
            return folder
        if key and key != "egg":
            raise InstallError(f"{text!r}: {key!r} is unknown after #; use #subdirectory=DIR")
    return None


def _unknown(text: str) -> InstallError:
    return InstallError(
        f"{text!r} names no repository; use org/repo, org/repo@REF, HOST/org/repo, https://HOST/org/repo, or ./folder"
    )
