"""Where a secret is found, and the type that never prints itself.

Whatever is read here is masked from that moment on, in everything that passes `colab_magics.masking`.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from colab_magics import masking
from colab_magics.core import environment, layout
from colab_magics.core.settings import Settings
from colab_magics.errors import TokenError

__all__ = ["Credential", "Secret", "host_token", "named", "refuse_literal", "token_files", "token_hosts"]

#: Environment variables and notebook secrets that hold a host's token, in the order they are tried.
HOST_VARIABLES: dict[str, tuple[str, ...]] = {
    "github.com": ("GITHUB_TOKEN", "GH_TOKEN"),
    "gitlab.com": ("GITLAB_TOKEN",),
}
#: What the environment variable of a named secret begins with.
NAMED_VARIABLE = "COLAB_MAGICS_SECRET_"
_SHORTEST = 8


class Secret:
    """A value that shows itself as ``***`` wherever it is printed, formatted or logged.

    Parameters
    ----------
    value : str
        The value; masked from now on.
    source : str
        Where it was read, for messages.
    """

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str) -> None:
        if len(value) < _SHORTEST:
            raise TokenError(
                f"the secret from {source} has fewer than {_SHORTEST} characters, too few to mask it safely; "
                "use a longer one"
            )
        masking.register(value)
        self._value = value
        self.source = source

    def reveal(self) -> str:
        """Return the value itself, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({masking.MASK}, from {self.source})"

    def __str__(self) -> str:
        return masking.MASK

    def __format__(self, spec: str) -> str:
        return format(masking.MASK, spec)

    def __reduce__(self) -> NoReturn:
        raise TokenError("a secret is not pickled: read it again where it is needed")


@dataclass(frozen=True)
class Credential:
    """What a git host is shown: a token, and the user name that goes with it where the user gave one."""

    token: Secret
    username: str | None = None


def named(name: str, settings: Settings, *, prompt: bool = True) -> Secret:
    """Find the secret called `name`.

    Looked for, in this order: the token file's ``"secrets"``; the environment variable
    ``COLAB_MAGICS_SECRET_<NAME>`` (then one called exactly `name`); Colab's or Kaggle's secrets; a hidden
    prompt, when somebody is there to answer.

    Parameters
    ----------
    name : str
        The name, with or without a leading ``secret:``.
    settings : Settings
        Says where the token file is and who can be asked.
    prompt : bool, optional
        Whether a person may be asked.

    Returns
    -------
    Secret

    Raises
    ------
    TokenError
        When it is nowhere; lists the places that were looked at.
    """
    name = name.removeprefix("secret:")
    if not re.fullmatch(r"[A-Za-z_][\w.-]*", name):
        raise TokenError(f"secret:{name!r} is not a name; use letters, digits and _ as in secret:DATASET_LINK")
    for path, data in _token_data(settings):
        secrets = data.get("secrets")
        if isinstance(secrets, dict) and secrets.get(name):
            return Secret(_text(secrets[name], path, f"secrets.{name}"), _brief(path))
    variable = NAMED_VARIABLE + re.sub(r"\W", "_", name).upper()
    found = _from_environment([variable, name]) or _from_notebook([name], settings)
    if found is None and prompt:
        found = _from_person(f"{name}: ", settings)
    if found is None:
        raise TokenError(
            f"the secret {name} was not found; put it into {_brief(token_files(settings)[0])} as "
            f'{{"secrets": {{"{name}": "..."}}}}, into the environment as {variable}, or into this notebook '
            "service's secrets with access switched on"
        )
    return found


def host_token(host: str, settings: Settings, *, token: str | None = None, prompt: bool = False) -> Credential | None:
    """Find the token for a git host.

    Looked for, in this order: the name that the call gives; the token file; the host's environment variables;
    Colab's or Kaggle's secrets of those names; a hidden prompt.

    Parameters
    ----------
    host : str
        The host, with its port where it has one. A token is only ever returned for the host it is for.
    settings : Settings
        Says where the token file is and who can be asked.
    token : str, optional
        ``secret:NAME``, as the call names it.
    prompt : bool, optional
        Whether a person may be asked.

    Returns
    -------
    Credential or None
        None when there is none to be found.

    Raises
    ------
    TokenError
        When the named secret is nowhere, or a token file cannot be read.
    """
    host = host.lower()
    username = None
    for path, data in _token_data(settings):
        entry = _host_entry(data, host)
        if entry is None:
            continue
        username = str(entry["username"]) if entry.get("username") else username
        if token is None and entry.get("access_token"):
            value = _text(entry["access_token"], path, f"{host}.access_token")
            return Credential(Secret(value, _brief(path)), username)
    if token is not None:
        return Credential(named(token, settings, prompt=prompt), username)
    names = HOST_VARIABLES.get(host, ())
    found = _from_environment(names) or _from_notebook(names, settings)
    if found is None and prompt:
        found = _from_person(f"access token for {host}: ", settings)
    return Credential(found, username) if found else None


def default_owner(settings: Settings, host: str = "github.com") -> str | None:
    """Return the token file's ``username`` for `host`: the owner of a repository that is named alone."""
    for _, data in _token_data(settings):
        entry = _host_entry(data, host)
        if entry and entry.get("username"):
            return str(entry["username"])
    return None


def token_hosts(settings: Settings) -> list[str]:
    """List every host that the token file serves, and those whose environment variable is set."""
    hosts = {name.lower() for _, data in _token_data(settings) for name, entry in data.items() if _is_host(name, entry)}
    hosts |= {"github.com" for _, data in _token_data(settings) if "access_token" in data}
    hosts |= {host for host, names in HOST_VARIABLES.items() if any(os.environ.get(name) for name in names)}
    return sorted(hosts)


def token_files(settings: Settings) -> list[Path]:
    """List the places where a token file is looked for; the first that exists is the one."""
    if settings.token_file is not None:
        return [settings.token_file]
    places = [Path.home() / ".config" / "colab_magics" / "tokens.json"]
    drive = layout.find_drive(settings)
    return [*places, drive / "colab_magics" / "tokens.json"] if drive else places


def refuse_literal(texts: Iterable[str]) -> None:
    """Refuse an argument that holds a token itself.

    Parameters
    ----------
    texts : iterable of str
        What was typed.

    Raises
    ------
    TokenError
        When one of them holds a token; it is masked from then on, and the message says to revoke it.
    """
    for text in texts:
        literal = masking.looks_like_token(text)
        if literal:
            masking.register(literal)
            raise TokenError(
                "a token was typed here, so it is now in this notebook's file and history: revoke it, make a new "
                "one, and put that into the token file, the environment or this service's secrets"
            )


def _token_data(settings: Settings) -> Iterator[tuple[Path, dict[str, object]]]:
    for path in token_files(settings):
        try:
            text = path.read_text("utf-8-sig")
        except FileNotFoundError:
            if settings.token_file is not None:
                raise TokenError(
                    f"the token file {_brief(path)} does not exist; correct --token-file, or write it"
                ) from None
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"the token file {_brief(path)} cannot be read: {_reason(error)}") from None
        try:
            data = json.loads(text)
        except ValueError as error:
            # The decoder's message quotes nothing of the file, only the place.
            raise TokenError(
                f"the token file {_brief(path)} is not JSON ({error}); see the README for its form"
            ) from None
        if not isinstance(data, dict):
            raise TokenError(
                f'the token file {_brief(path)} must hold an object: {{"access_token": "...", "username": "..."}}'
            )
        yield path, data
        return


def _host_entry(data: dict[str, object], host: str) -> dict[str, object] | None:
    for name, entry in data.items():
        if name.lower() == host and isinstance(entry, dict):
            return entry
    if host == "github.com" and "access_token" in data:
        return data
    return {"username": data["username"]} if host == "github.com" and data.get("username") else None


def _is_host(name: str, entry: object) -> bool:
    return isinstance(entry, dict) and name != "secrets"


def _text(value: object, path: Path, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TokenError(f"{where} in the token file {_brief(path)} must be a text in quotes")
    return value.strip()


def _from_environment(names: Iterable[str]) -> Secret | None:
    for name in names:
        value = os.environ.get(name, "").strip()
        if value:
            return Secret(value, f"the environment variable {name}")
    return None


def _from_notebook(names: Iterable[str], settings: Settings) -> Secret | None:
    readers: dict[str, Callable[[str], str | None]] = {"colab": _colab_secret, "kaggle": _kaggle_secret}
    where = environment.detect(override=settings.env)
    read = readers.get(where)
    for name in names if read else ():
        value = (read(name) or "").strip() if read else ""
        if value:
            return Secret(value, f"{where.capitalize()}'s secret {name}")
    return None


def _colab_secret(name: str) -> str | None:
    # googlecolab/colabtools google/colab/userdata.py. Every way in which it has none (no such secret, no access
    # granted, no page open to answer within 10 s) is an Exception of its own; an empty value stands for none too.
    try:
        userdata = importlib.import_module("google.colab.userdata")
    except ImportError:
        return None
    try:
        value = userdata.get(name)
    except Exception as error:  # noqa: BLE001 - its three classes have no common base but Exception
        if type(error).__name__ == "NotebookAccessError":
            raise TokenError(
                f"Colab's secret {name} is there, but this notebook may not read it: open the key symbol at the "
                "left and switch on its notebook access"
            ) from None
        return None
    return value if isinstance(value, str) else None


def _kaggle_secret(name: str) -> str | None:
    try:
        client = importlib.import_module("kaggle_secrets").UserSecretsClient()
    except ImportError:
        return None
    try:
        value = client.get_secret(name)
    except Exception:  # noqa: BLE001 - its errors (no such label, no connection) have no common base either
        return None
    return value if isinstance(value, str) else None


def _from_person(prompt: str, settings: Settings) -> Secret | None:
    if settings.ask is None:
        return None
    value = settings.ask(prompt).strip()
    return Secret(value, "the prompt") if value else None


def _brief(path: Path) -> str:
    home = str(Path.home())
    text = str(path)
    return "~" + text[len(home) :] if text.startswith(home + os.sep) else text


def _reason(error: Exception) -> str:
    return error.strerror or "error" if isinstance(error, OSError) else "not UTF-8 text"
