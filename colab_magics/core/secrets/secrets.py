"""Where a secret is found, in which order, and the type that never prints itself.

Whatever is read here is masked from that moment on, in everything that passes `colab_magics.masking`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from colab_magics import masking
from colab_magics.core.common.settings import Settings
from colab_magics.core.secrets import sources, tokenfile
from colab_magics.core.secrets.hosts import VARIABLES, where_to_make
from colab_magics.errors import TokenError

__all__ = [
    "NAMED_VARIABLE",
    "Credential",
    "Secret",
    "default_owner",
    "exposed",
    "host_token",
    "missing_token",
    "named",
    "refuse_literal",
    "refuse_token_argument",
    "secret_names",
    "token_hosts",
]

#: What the environment variable of a named secret begins with.
NAMED_VARIABLE = "COLAB_MAGICS_SECRET_"
_SHORTEST = 8
_NAME = re.compile(r"[A-Za-z_][\w.-]*")


class Secret:
    """A value that shows itself as ``***`` wherever it is printed, formatted or logged.

    Parameters
    ----------
    value : str
        The value; masked from now on.
    source : str
        Where it was read, for messages.

    Raises
    ------
    TokenError
        When it is too short to be masked.
    """

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str) -> None:
        if not masking.can_mask(value):
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
    if not _NAME.fullmatch(name):
        refuse_token_argument(name)
    variable = NAMED_VARIABLE + re.sub(r"\W", "_", name).upper()
    hints: list[str] = []
    found = (
        _from_file([name], settings)
        or sources.from_environment([variable, name])
        or sources.from_notebook([name], settings, hints)
        or sources.from_caller(name)
    )
    if found is None:
        near = _near(name, settings)
        keep = (
            f'put it into {tokenfile.brief(tokenfile.places(settings)[0])} as {{"secrets": {{"{name}": "..."}}}}, into '
            f"the environment as {variable}, or into this notebook service's secrets with access switched on"
        )
        if prompt:
            lines = [f"the secret {name} was not found{near or ';'} to be asked no more, {keep}", *hints]
            found = sources.from_person("\n".join([*lines, f"{name}: "]), settings)
        if found is None:
            raise TokenError(hints[0] if hints else f"the secret {name} was not found{near or ';'} {keep}")
    return Secret(*found)


def _from_file(names: Iterable[str], settings: Settings) -> tuple[str, str] | None:
    file = tokenfile.read(settings)
    name = next((name for name in names if file and name in file.secrets), None)
    return (file.secrets[name], tokenfile.brief(file.path)) if file and name else None


def host_token(
    host: str,
    settings: Settings,
    *,
    token: str | None = None,
    last: bool = False,
    hints: list[str] | None = None,
) -> Credential | None:
    """Find the token for a git host.

    Looked for, in this order: the name that the call gives; the token file; the host's environment variables;
    Colab's or Kaggle's secrets of those names. With `last` also: GitHub's command line, the keyring, git's own
    stored credentials, a hidden prompt.

    Parameters
    ----------
    host : str
        The host, with its port where it has one. A token is only ever returned for the host it is for.
    settings : Settings
        Says where the token file is and who can be asked.
    token : str, optional
        ``secret:NAME``, as the call names it.
    last : bool, optional
        Whether the slow places and a person are asked too: the host has said that it wants a token.
    hints : list of str, optional
        Takes what a person should know when nothing is found.

    Returns
    -------
    Credential or None
        None when there is none to be found.

    Raises
    ------
    TokenError
        When the named secret is nowhere, or a token file cannot be read.
    """
    host, hints = host.lower(), [] if hints is None else hints
    file = tokenfile.read(settings)
    username = file.usernames.get(host) if file else None
    if token is not None:
        return _credential(named(token, settings), username)
    names = VARIABLES.get(host, ())
    found: tuple[str, str] | None
    if file and host in file.tokens:
        found = file.tokens[host], tokenfile.brief(file.path)
    else:
        found = (
            _from_file(names, settings)
            or sources.from_environment(_variables(names))
            or sources.from_notebook(names, settings, hints)
            or (sources.from_gh(host) if last else None)
        )
    if not found and (sent := sources.lent_token(host)):
        found, username = sent[:2], sent[2]
    if not found and last and (stored := sources.from_keyring(host, username) or sources.from_git(host)):
        found, username = stored[:2], stored[2] or username
    if not found and last:
        made = f"; make one at {page}" if (page := where_to_make(host)) else ""
        asked = f"{host} wants a token, and none was found{made}; to be asked no more, {_keep(host, settings)}"
        found = sources.from_person(f"{asked}\naccess token for {host}: ", settings)
    return _credential(Secret(*found), username) if found else None


def _credential(token: Secret, username: str | None) -> Credential:
    # git's credential protocol is one value a line: a break inside would be read as a further answer.
    if re.search(r"[\s\x00-\x1f\x7f]", token.reveal()):
        raise TokenError(f"the token from {token.source} has a space or a line break inside; paste it again")
    return Credential(token, username)


def _variables(names: Iterable[str]) -> list[str]:
    return [*names, *(NAMED_VARIABLE + name for name in names)]


def missing_token(host: str, settings: Settings, hints: Iterable[str] = ()) -> TokenError:
    """Return the error for a host that wants a token when none was found; says where to put one."""
    made = f". Make one at {page}" if (page := where_to_make(host)) else ""
    return TokenError(
        f"{host} wants a token (as it also does for a repository that is not there) and none was found; "
        f"{_keep(host, settings)}{made}" + "".join(f". {hint}" for hint in hints)
    )


def _keep(host: str, settings: Settings) -> str:
    """Say where a host's token is put, so that it is found from then on."""
    names = VARIABLES.get(host)
    places = (
        f"into the environment or this service's secrets as {' or '.join(names)}"
        if names
        else "or name a secret that holds it with --token secret:NAME"
    )
    file = tokenfile.brief(tokenfile.places(settings)[0])
    return f'put one into {file} as {{"{host}": {{"access_token": "..."}}}}, {places}'


def _near(name: str, settings: Settings) -> str:
    """Return ``; did you mean secret:NAME?`` when a secret that is there is called nearly so."""
    by_name = {each.upper(): each for each in secret_names(settings)}
    near = difflib.get_close_matches(name.upper(), by_name, n=1, cutoff=0.7)
    return f"; did you mean secret:{by_name[near[0]]}?" if near else ""


def secret_names(settings: Settings) -> list[str]:
    """List the names of the secrets that the token file and the environment have; Colab's and Kaggle's list none."""
    file = tokenfile.read(settings)
    named_variables = {each[len(NAMED_VARIABLE) :] for each in os.environ if each.startswith(NAMED_VARIABLE)}
    return sorted({*(file.secrets if file else ()), *named_variables})


def default_owner(settings: Settings) -> tuple[str, str] | None:
    """Return the host and the owner of a repository that is named alone: those of the token file's ``username``."""
    file = tokenfile.read(settings)
    return file.owner if file else None


def token_hosts(settings: Settings) -> list[str]:
    """List every host that the token file serves, and those whose environment variable is set."""
    file = tokenfile.read(settings)
    hosts = set(file.tokens) if file else set()
    for host, names in VARIABLES.items():
        if sources.from_environment(_variables(names)) or (file and not file.secrets.keys().isdisjoint(names)):
            hosts.add(host)
    return sorted(hosts)


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
        if literal := masking.looks_like_token(text):
            where = "a token was typed here, so this notebook's file or the shell's history has it now"
            raise exposed(literal, where, "the environment or this service's secrets")


def exposed(literal: str, where: str, then: str = "and give the address without it") -> TokenError:
    """Mask what was written where others can read it, and return the error that says to revoke it.

    Parameters
    ----------
    literal : str
        The secret itself; it is not quoted.
    where : str
        Says where it stands.
    then : str, optional
        What to do beside putting a new one into the token file.
    """
    if masking.can_mask(literal):
        masking.register(literal)
    return TokenError(f"{where}: revoke it, make a new one, put that into the token file, {then}")


def refuse_token_argument(text: str) -> NoReturn:
    """Refuse what was given for a secret's name and is none: most likely the secret itself.

    Raises
    ------
    TokenError
        Always. What may be a secret is masked from then on and not quoted.
    """
    if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", text) and len(text) < 40:
        raise TokenError(f"a token is given by its name, as secret:{text}; never itself")
    if masking.can_mask(text):
        masking.register(text)
    raise TokenError(
        "a secret is given by its name, as in secret:GITHUB_TOKEN, never itself. If what was typed is the secret, it "
        "is now in this notebook's file or the shell's history: revoke it, and make a new one"
    )
