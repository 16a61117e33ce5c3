"""The token file: one JSON object with a token for each host, and further secrets by name.

``{"access_token": "...", "username": "..."}`` serves github.com; or there is an object for each host, and
``"secrets"``: ``{"gitlab.example.org": {"access_token": "..."}, "secrets": {"DATASET_LINK": "..."}}``. A login to
Dropbox is ``"dropbox": {"app_key": "...", "refresh_token": "..."}``.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from colab_magics import masking
from colab_magics.core.common import drive
from colab_magics.core.common.files import write_whole
from colab_magics.core.common.settings import Settings
from colab_magics.errors import TokenError

__all__ = ["TokenFile", "brief", "exposure", "place_to_write", "places", "read", "write_login"]

_GITHUB = "github.com"
_FORM = '{"access_token": "...", "username": "..."}'
_SHORTEST = 8
_ENTRY = ("access_token", "username")
_DROPBOX, _LOGIN = "dropbox", ("app_key", "refresh_token")


@dataclass(frozen=True)
class TokenFile:
    """A token file that was read and found well-formed.

    Attributes
    ----------
    path : Path
        Where it is.
    tokens : dict of str to str
        For each host, with its port where it has one, the token.
    usernames : dict of str to str
        For each host the user name, where there is one.
    secrets : dict of str to str
        The named secrets.
    dropbox : dict of str to str
        The login to Dropbox: ``app_key`` and ``refresh_token``; empty where there is none.
    """

    path: Path
    # Not in the repr: it would show them to whoever prints it before they are masked.
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    usernames: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    dropbox: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def owner(self) -> tuple[str, str] | None:
        """The host and user name that a repository named alone belongs to: GitHub's, or those of the only host."""
        if _GITHUB in self.usernames:
            return _GITHUB, self.usernames[_GITHUB]
        return next(iter(self.usernames.items())) if len(self.usernames) == 1 else None


def places(settings: Settings) -> list[Path]:
    """List the places where a token file is looked for; the first that exists is the one."""
    if settings.token_file is not None:
        return [drive.expand(settings.token_file, settings)]
    usual = [Path.home() / ".config" / "colab_magics" / "tokens.json"]
    root = drive.find_drive(settings)
    return [*usual, root / "colab_magics" / "tokens.json"] if root else usual


def read(settings: Settings) -> TokenFile | None:
    """Read the token file; every secret in it is masked from then on.

    Parameters
    ----------
    settings : Settings
        Says where it is.

    Returns
    -------
    TokenFile or None
        None when it is at none of the usual places.

    Raises
    ------
    TokenError
        When it is not where the settings say, cannot be read, or is malformed; says how to mend it.
    """
    for path in places(settings):
        found = TokenFile(path)
        try:
            problem = _fill(found, path.read_bytes())
        except FileNotFoundError:
            if settings.token_file is None:
                continue
            problem = "does not exist; correct --token-file (or COLAB_MAGICS_TOKEN_FILE), or write it"
        except OSError as error:
            problem = f"cannot be read: {error.strerror or 'error'}; correct its path or its permissions"
        if problem:
            # Raised here, outside of any except: an error's context would carry the file's text.
            raise TokenError(f"the token file {brief(path)} {problem}")
        return found
    return None


def place_to_write(settings: Settings) -> Path:
    """Return the token file that there is, else where one is made: on the drive, if there is one, since it lasts."""
    listed = places(settings)
    return next((path for path in listed if path.exists()), listed[-1])


def write_login(path: Path, login: dict[str, str] | None) -> None:
    """Write a login to Dropbox into a token file, or take it out, and leave all else in it as it is.

    The file is replaced at once, readable by its owner alone.
    """
    path = Path(os.path.realpath(path))
    data = json.loads(path.read_text("utf-8-sig")) if path.exists() else {}
    data.pop(_DROPBOX, None)
    data |= {_DROPBOX: login} if login else {}
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, json.dumps(data, indent=2).encode(), 0o600, durable=True)


def exposure(found: TokenFile, settings: Settings) -> str | None:
    """Say that a token file can be read by others and how to mend that, or None when all is well.

    A mounted Drive is no normal file system: the rights that it shows mean nothing and cannot be changed.
    """
    try:
        status = found.path.stat()
    except OSError:
        return None
    root = drive.find_drive(settings)
    if root and found.path.resolve().is_relative_to(root.resolve()):
        return None
    if os.name != "posix" or status.st_uid != os.getuid() or not stat.S_IMODE(status.st_mode) & 0o077:
        return None
    name = brief(found.path)
    return f"the token file {name} can be read by others on this machine; mend it with: chmod 600 {name}"


def brief(path: Path) -> str:
    """Return a path as a person writes it: with ``~`` for the home folder."""
    home, text = str(Path.home()), str(path)
    return "~" + text[len(home) :] if text.startswith(home + os.sep) else text


def _fill(found: TokenFile, content: bytes) -> str:
    """Take down what a token file holds; return what is malformed in it, quoting none of the values."""
    try:
        data = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "is not UTF-8 text; save it as UTF-8"
    except json.JSONDecodeError as error:
        return f"is not JSON ({error.msg} in line {error.lineno}); its form is {_FORM}"
    except (ValueError, RecursionError):  # a number of thousands of digits; brackets in brackets
        return f"is not a token file; its form is {_FORM}"
    return _take(found, data) if isinstance(data, dict) else f"must hold an object: {_FORM}"


def _take(found: TokenFile, data: dict[str, object]) -> str:
    values = list(_values(data))
    for _, _, key, value in values:  # all of them first, before anything can be shown
        if key not in {"username", "app_key"} and isinstance(value, str) and masking.can_mask(value):
            masking.register(value.strip())
    if not isinstance(data.get("secrets", {}), dict):
        return 'must have an object under "secrets": {"secrets": {"DATASET_LINK": "..."}}'
    kept = {"access_token": found.tokens, "username": found.usernames}
    for where, host, key, value in values:
        if not key:
            return f'must have an object for {where}: {{"{where}": {{"access_token": "..."}}}}'
        if not isinstance(value, str):
            return f"must have a text in quotes under {where}"
        text = value.strip()
        # git's credential protocol is one value a line; a token with a space in it is a paste gone wrong.
        if key in kept and re.search(r"[\s\x00-\x1f\x7f]", text):
            return f"has a space or a line break inside {where}; paste it again"
        if key == "access_token" and 0 < len(text) < _SHORTEST:
            return f"has only {len(text)} characters under {where}; paste the whole token"
        if text and key in kept:
            kept[key][host] = text
        elif text:
            (found.dropbox if host == _DROPBOX else found.secrets)[key] = text
    if data.get(_DROPBOX, {}) != {} and len(found.dropbox) < len(_LOGIN):
        return 'must have both under "dropbox": {"app_key": "...", "refresh_token": "..."}; log in again'
    return ""


def _values(data: dict[str, object]) -> Iterator[tuple[str, str, str, object]]:
    """Yield each value that counts: where it stands, its host (or part of the file), its key there, and itself."""
    keys = {"secrets": None, _DROPBOX: _LOGIN}
    for name, entry in [("", data), *data.items()]:
        if isinstance(entry, dict):
            for key in keys.get(name, _ENTRY) or entry:
                if entry.get(key) is not None:
                    yield f"{name}.{key}".strip("."), _host(name) if name else _GITHUB, key, entry[key]
        elif _looks_like_host(name):
            yield name, _host(name), "", entry


def _host(name: str) -> str:
    return re.sub(r"^https?://", "", name.strip().lower()).rstrip("/")


def _looks_like_host(name: str) -> bool:
    return re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?|localhost(:\d+)?", _host(name)) is not None
