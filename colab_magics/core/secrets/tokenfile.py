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
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from colab_magics import masking
from colab_magics.core.common import drive
from colab_magics.core.common.settings import Settings
from colab_magics.errors import TokenError

__all__ = ["TokenFile", "brief", "exposure", "place_to_write", "places", "read", "write_login"]

_GITHUB = "github.com"
_FORM = '{"access_token": "...", "username": "..."}'
_SHORTEST = 8
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
        try:
            key = _key(path)
            if path in _read and _read[path][0] == key:
                return _read[path][1]
            data: object = path.read_bytes()
        except FileNotFoundError:
            if settings.token_file is None:
                continue
            problem = "does not exist; correct --token-file (or COLAB_MAGICS_TOKEN_FILE), or write it"
        except OSError as error:
            problem = f"cannot be read: {error.strerror or 'error'}; correct its path or its permissions"
        else:
            data, problem = _parsed(data)
            problem = problem or _complaint(data)
        if not problem and isinstance(data, dict):
            made = _made(path, data)
            if time.time_ns() - key[-1] > _RACY:
                _read[path] = key, made
            return made
        # Raised here, outside of any except: an error's context would carry the file's text.
        raise TokenError(f"the token file {brief(path)} {problem}")
    return None


# One call asks for it several times, and on a mounted drive each reading takes a while.
_read: dict[Path, tuple[tuple[int, ...], TokenFile]] = {}


# Nanoseconds: a file that was written just now may be written again within the same tick of its clock.
_RACY = 2_000_000_000


def _key(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


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
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # readable by its owner alone
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        os.unlink(fresh)
        raise
    _read.pop(path, None)


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


def _parsed(data: object) -> tuple[object, str]:
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else ""
        return json.loads(text), ""
    except UnicodeDecodeError:
        return None, "is not UTF-8 text; save it as UTF-8"
    except json.JSONDecodeError as error:
        return None, f"is not JSON ({error.msg} in line {error.lineno}); its form is {_FORM}"
    except (ValueError, RecursionError):  # a number of thousands of digits; brackets in brackets
        return None, f"is not a token file; its form is {_FORM}"


def _complaint(data: object) -> str:
    """Say what is malformed, quoting none of the values."""
    if not isinstance(data, dict):
        return f"must hold an object: {_FORM}"
    _remember(data)
    login = data.get(_DROPBOX, {})
    if not isinstance(login, dict) or not all(
        isinstance(value, str) for value in map(login.get, _LOGIN if login else ())
    ):
        return 'must have both under "dropbox": {"app_key": "...", "refresh_token": "..."}; log in again'
    if message := _entry_complaint(data, ""):
        return message
    for name, entry in data.items():
        if name == "secrets":
            if not isinstance(entry, dict):
                return 'must have an object under "secrets": {"secrets": {"DATASET_LINK": "..."}}'
            for key, value in entry.items():
                if value is not None and not isinstance(value, str):
                    return f"must have a text in quotes under secrets.{key}"
        elif isinstance(entry, dict):
            if message := _entry_complaint(entry, f"{name}."):
                return message
        elif _looks_like_host(name):
            return f'must have an object for {name}: {{"{name}": {{"access_token": "..."}}}}'
    return ""


def _entry_complaint(entry: dict[str, object], where: str) -> str:
    for key in ("access_token", "username"):
        value = entry.get(key)
        if value is not None and not isinstance(value, str):
            return f"must have a text in quotes under {where}{key}"
        # git's credential protocol is one value a line; a token with a space in it is a paste gone wrong.
        if value and re.search(r"[\s\x00-\x1f\x7f]", value.strip()):
            return f"has a space or a line break inside {where}{key}; paste it again"
        if key == "access_token" and value and 0 < len(value.strip()) < _SHORTEST:
            return f"has only {len(value.strip())} characters under {where}{key}; paste the whole token"
    return ""


def _made(path: Path, data: dict[str, object]) -> TokenFile:
    found = TokenFile(path)
    login = data.get(_DROPBOX)
    if isinstance(login, dict):
        found.dropbox.update({key: str(login[key]).strip() for key in _LOGIN if login.get(key)})
    entries = [(_GITHUB, data)] if "access_token" in data or "username" in data else []
    entries += [(_host(name), entry) for name, entry in data.items() if name != "secrets" and isinstance(entry, dict)]
    for host, entry in entries:
        for key, kept in (("access_token", found.tokens), ("username", found.usernames)):
            value = entry.get(key)
            if isinstance(value, str) and value.strip():
                kept[host] = value.strip()
    named = data.get("secrets")
    if isinstance(named, dict):
        found.secrets.update({key: value.strip() for key, value in named.items() if value and value.strip()})
    return found


def _remember(data: dict[str, object]) -> None:
    """Mask everything in the file that can be a secret, before anything of it can be shown."""
    for name, entry in data.items():
        if isinstance(entry, dict):
            values = (
                list(entry.values()) if name == "secrets" else [entry.get("access_token"), entry.get("refresh_token")]
            )
        else:
            values = [entry] if name == "access_token" or _looks_like_host(name) else []
        for value in values:
            if isinstance(value, str) and len("".join(value.split())) >= _SHORTEST:
                masking.register(value.strip())


def _host(name: str) -> str:
    return re.sub(r"^https?://", "", name.strip().lower()).rstrip("/")


def _looks_like_host(name: str) -> bool:
    return re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?|localhost(:\d+)?", _host(name)) is not None
