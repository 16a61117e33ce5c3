"""What a person types for a private package -> which repository, ref and part is meant. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote

from colab_magics import masking
from colab_magics.core.common.addresses import is_loopback
from colab_magics.core.secrets.hosts import origin, repository_address
from colab_magics.core.secrets.secrets import exposed
from colab_magics.errors import InstallError

__all__ = ["Spec", "canonical", "is_bare", "parse_spec"]

_GITHUB = "github.com"
_FOLDER = re.compile(r"^(\.{1,2}(/|$|\[)|/|~|drive:)")
_TAIL = re.compile(
    r"^(?P<path>[^@\[\]#?\s]+?)/?(?:\[(?P<extras>[^\]]*)\])?(?:@(?P<ref>[^#\s\[\]]+))?(?:\[(?P<late>[^\]]*)\])?"
    r"(?:#(?P<fragment>\S*))?$"
)
_URL = re.compile(r"^(?P<scheme>https?|ssh|git)://(?:(?P<user>[^/@]*)@)?(?P<host>[^/@]+)/(?P<rest>.*)$")
_SCP = re.compile(r"^[\w.-]+@(?P<host>[\w.-]+):(?P<rest>.+)$")
_HOST = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?$")
_NAME = re.compile(r"^(?!\.{1,2}$)[\w.~][\w .~-]*$")
# git-check-ref-format(1), and no leading dash, which a command would take for an option.
_NO_REF = re.compile(r"^[-/.]|\.\.|//|@\{|[~^:?*\\\x00-\x20\x7f]|\.lock(/|$)|[/.]$|^@$")
# What a browser's address bar shows for a branch, a commit, or a pull request.
_BROWSER = re.compile(
    r"^(?P<repo>[^/]+/[^/]+?)/(?:(?:tree|commit|releases/tag)/(?P<ref>[^#?]+?)|pull/(?P<pull>\d+)(?:/\w+)?)/?$"
)
# In an exported script a host can be a variable: its name then stands between two of these (see `blocks.lexer`).
_VARIABLE = re.compile("\ua78f\\w+\ua78f")
# No owner on GitHub has a dot or a colon in its name; a variable before a slash and one part is an owner.
_BEGINS_WITH_HOST = re.compile(
    rf"^(?P<host>(?:localhost|[\w-]+(?:\.[\w-]+)+)(?::\d+)?|{_VARIABLE.pattern}(?=/[^/]+/))/(?P<rest>.+)$"
)
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9_-]{24,}")


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
        # Azure DevOps knows no .git suffix; every other host has it, and some redirect without.
        suffix = "" if "/_git/" in f"/{self.path}" else ".git"
        return f"{origin(self.host)}/{self.path}{suffix}"

    @property
    def is_pinned(self) -> bool:
        """Whether it names a whole commit, which no host need be asked for."""
        return re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", self.ref or "") is not None

    @property
    def shown(self) -> str:
        """The repository as messages call it."""
        return self.path if self.host in {"", _GITHUB} else f"{self.host}/{self.path}"

    @property
    def repository(self) -> str:
        """The repository's own name."""
        return unquote(self.path.rstrip("/").rpartition("/")[2])


def parse_spec(text: str, *, owner: str | None = None, owner_host: str = _GITHUB) -> Spec:
    """Understand what a person typed for a package.

    Parameters
    ----------
    text : str
        ``org/repo``, ``repo``, ``org/repo[extra]@REF#subdirectory=DIR``, ``HOST/org/repo``, an ``https://`` or
        ``git@HOST:`` address, or a folder (``./pkg``, ``drive:pkg``).
    owner : str, optional
        Whose repository a bare ``repo`` is.
    owner_host : str, optional
        The host that a bare ``repo`` is on.

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
    _refuse_token(text)
    if _FOLDER.match(text):
        match = re.fullmatch(r"(?P<path>.+?)(?:\[(?P<extras>[^\]/]*)\])?", text)
        return Spec(text, "", match["path"] if match else text, extras=_extras(match and match["extras"]))

    host, rest, ssh = _split_host(text)
    rest, ref = _from_browser(host, rest)
    match = _TAIL.match(rest)
    if not match:
        raise _unknown(text)
    parts = [part for part in match["path"].removesuffix(".git").split("/") if part]
    if not host:
        host = _GITHUB
        if len(parts) == 1:
            if not owner:
                raise InstallError(
                    f'whose {text!r}? Give it as owner/{parts[0]}, or put "username" into the token file '
                    f"(a folder is given as ./{parts[0]})"
                )
            host, parts = owner_host, [owner, *parts]
    is_variable = _VARIABLE.fullmatch(host)
    if not (is_variable or _HOST.match(host)) or len(parts) < 2 or not all(map(_NAME.match, map(unquote, parts))):
        raise _unknown(text)
    host, path = repository_address(host if is_variable else host.lower(), "/".join(parts), ssh=ssh)
    if host == _GITHUB and len(parts) != 2:
        raise _unknown(text)
    ref = ref or match["ref"]
    if ref and _NO_REF.search(ref):
        raise InstallError(f"{text!r}: {ref!r} cannot be the name of a branch, a tag or a commit; correct it")
    extras = _extras(f"{match['extras'] or ''},{match['late'] or ''}")
    return Spec(text, host, path, ref, extras, _subdirectory(text, match["fragment"]))


def is_bare(text: str) -> bool:
    """Tell whether a spec is a repository's name alone, whose owner is to be found elsewhere."""
    is_elsewhere = _FOLDER.match(text) or _split_host(text, strict=False)[0]
    return not is_elsewhere and "/" not in re.split(r"[@\[#]", text)[0]


def canonical(url: str) -> str:
    """Return a repository's address in the one form in which two addresses of it are equal."""
    host, rest, ssh = _split_host(url, strict=False)
    path = rest.partition("#")[0].strip("/").removesuffix(".git")
    return "/".join(repository_address(host.lower(), path, ssh=ssh)).lower()


def _refuse_token(text: str) -> None:
    literal = masking.looks_like_token(text)
    if not literal:
        address = re.match(r"^\w[\w+.-]*://(?P<user>[^/@:]*)(?::(?P<password>[^/@]+))?@", text)
        if not address or not (address["password"] or _TOKEN_LIKE.fullmatch(address["user"])):
            return
        literal = address["password"] or address["user"]
    raise exposed(literal, "a token was typed inside a package's address, so this notebook or a history has it now")


def _split_host(text: str, *, strict: bool = True) -> tuple[str, str, bool]:
    """Split an address into its host, the rest, and whether it is one for ssh; the host is empty when it has none."""
    text = text.strip().removeprefix("git+")
    if match := _URL.match(text):
        if strict and match["scheme"] in {"http", "git"} and not is_loopback(match["host"]):
            raise InstallError(f"{text!r} is not https; a token is only sent over https, so give the https:// address")
        return match["host"], match["rest"], match["scheme"] == "ssh"
    if match := _SCP.match(text):
        return match["host"], match["rest"].lstrip("/"), True
    if match := _BEGINS_WITH_HOST.match(text):
        return match["host"], match["rest"], False
    return "", text, False


def _from_browser(host: str, rest: str) -> tuple[str, str | None]:
    """Return the repository and the ref of what was copied from a browser's address bar; else `rest` and None."""
    if host and "/-/" in rest:  # GitLab: group/project/-/tree/REF
        repo, _, view = rest.partition("/-/")
        ref = re.match(r"(?:tree|commit|tags)/([^#?]+?)/?$", view)
        return (repo, ref[1]) if ref else (rest, None)
    if host.lower() == _GITHUB and (match := _BROWSER.match(rest)):
        return match["repo"], match["ref"] or f"refs/pull/{match['pull']}/head"
    return rest, None


def _extras(text: str | None) -> tuple[str, ...]:
    return tuple(sorted({extra.strip() for extra in (text or "").split(",")} - {""}))


def _subdirectory(text: str, fragment: str | None) -> str | None:
    for part in (fragment or "").split("&"):
        key, _, value = part.partition("=")
        if key == "subdirectory":
            folder = os.path.normpath(unquote(value))
            if folder.startswith(("/", "..")):
                raise InstallError(f"{text!r}: the subdirectory leaves the repository")
            return None if folder == "." else folder
        if key and key != "egg":
            raise InstallError(f"{text!r}: {key!r} is unknown after #; use #subdirectory=DIR")
    return None


def _unknown(text: str) -> InstallError:
    return InstallError(
        f"{text!r} names no repository; use org/repo, org/repo@REF, HOST/org/repo, https://HOST/org/repo, or ./folder"
    )
