"""The places outside the token file where a secret can be: the environment, notebook services, tools, a person.

Each reader returns the value, or None when its place has none; none of them fails because of what is not there.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from colab_magics.core.common import cancellation, environment, process
from colab_magics.core.common.settings import Settings
from colab_magics.core.secrets.hosts import host_of, origin

__all__ = [
    "from_caller",
    "from_environment",
    "from_gh",
    "from_git",
    "from_keyring",
    "from_notebook",
    "from_person",
    "lent",
    "lent_token",
]

_TIMEOUT = 10.0  # seconds for a tool that holds tokens


def from_environment(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first environment variable that is set and not blank: its value, and its name for messages."""
    for name in names:
        if value := os.environ.get(name, "").strip():
            return value, f"the environment variable {name}"
    return None


def from_notebook(names: Iterable[str], settings: Settings, hints: list[str]) -> tuple[str, str] | None:
    """Return the first of Colab's or Kaggle's secrets that is there and not blank.

    Parameters
    ----------
    names : iterable of str
        The secrets' names, in the order they are tried.
    settings : Settings
        May override where this is.
    hints : list of str
        Takes what a person should know when nothing is found anywhere: a secret that is there and not granted.
    """
    where = environment.detect(override=settings.env)
    try:
        if where == "colab":
            get = importlib.import_module("google.colab.userdata").get
        elif where == "kaggle":
            get = importlib.import_module("kaggle_secrets").UserSecretsClient().get_secret
        else:
            return None
    except ImportError:
        return None
    for name in names:
        try:
            # Colab's talks to the page over the kernel's own channel, which is the main thread's.
            value = cancellation.in_main_thread(partial(_answered, get, name))
        except Exception as error:  # noqa: BLE001 - each way of having none is one of its own, with no common base
            kind = type(error).__name__  # googlecolab/colabtools google/colab/userdata.py
            if kind == "TimeoutException":
                hints.append("Colab's secrets did not answer: they need this notebook open in a Colab page")
                return None
            if kind == "NotebookAccessError":
                hints.append(
                    f"Colab's secret {name} is there, but this notebook may not read it: open the key symbol at the "
                    "left and switch on its notebook access"
                )
            continue
        if isinstance(value, str) and value.strip():
            return value.strip(), f"{where.capitalize()}'s secret {name}"
    return None


_lent: dict[str, str] = {}
_lent_tokens: dict[str, tuple[str, str | None]] = {}
_CALLER = "whoever runs the block"


@contextmanager
def lent(named: Mapping[str, str], tokens: Mapping[str, Sequence[str | None]]) -> Iterator[None]:
    """Have secrets, and tokens with their user names by host, that were sent to this process for one call."""
    pairs = {host: (str(given[0]), given[1]) for host, given in tokens.items()}
    _lent.update(named)
    _lent_tokens.update(pairs)
    try:
        yield
    finally:
        for name in named:
            _lent.pop(name, None)
        for host in pairs:
            _lent_tokens.pop(host, None)


def from_caller(name: str) -> tuple[str, str] | None:
    """Return a secret that was sent to this process for the call that runs."""
    return (_lent[name], _CALLER) if name in _lent else None


def lent_token(host: str) -> tuple[str, str, str | None] | None:
    """Return the token for a host that was sent to this process for the call that runs, and its user name."""
    if host not in _lent_tokens:
        return None
    token, username = _lent_tokens[host]
    return token, _CALLER, username


_unanswered: list[Exception] = []


def _answered(get: Callable[[str], object], name: str) -> object:
    """Ask, but never again once 10 s have gone by: no Colab page is open to answer, and each name would cost as much.

    That is so for a runtime that the ``colab`` command or VS Code has started (googlecolab/google-colab-cli#48).
    """
    if _unanswered:
        raise _unanswered[0]
    try:
        return get(name)
    except Exception as error:
        if type(error).__name__ == "TimeoutException":
            _unanswered.append(error)
        raise


def from_gh(host: str) -> tuple[str, str] | None:
    """Return the token that GitHub's own command line keeps for a host."""
    kind = host_of(host)
    gh = shutil.which("gh")
    if not gh or (kind and kind.title != "GitHub"):
        return None
    found = _output([gh, "auth", "token", "--hostname", host])
    return (found.strip(), "gh auth token") if found and found.strip() else None


def from_keyring(host: str, username: str | None) -> tuple[str, str, str | None] | None:
    """Return what this machine's keyring holds for a host: the token, where it was, and its user name."""
    try:
        keyring = importlib.import_module("keyring")
        for service in (f"https://{host}", host):
            if (found := keyring.get_credential(service, username)) and found.password:
                return str(found.password), "the keyring", found.username
    except Exception:  # noqa: BLE001 - it is not there, is locked, or its backend is broken: it has none
        return None
    return None


def from_git(host: str) -> tuple[str, str, str | None] | None:
    """Return what git's own credential helpers hold for a host: the token, where it was, and its user name."""
    question = f"url={origin(host)}\n\n"
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GCM_INTERACTIVE": "never"}
    answer = _output(["git", "credential", "fill"], question, **quiet)
    given = dict(line.partition("=")[::2] for line in (answer or "").splitlines())
    if not given.get("password"):
        return None
    return given["password"], "git's stored credentials", given.get("username") or None


def from_person(prompt: str, settings: Settings) -> tuple[str, str] | None:
    """Ask whoever is there, hidden; None when nobody is, or nothing was typed."""
    if settings.ask is None:
        return None
    ask = settings.ask
    value = cancellation.in_main_thread(lambda: ask(prompt)).strip()
    return (value, "the prompt") if value else None


def _output(command: list[str], feed: str = "", **environ: str) -> str | None:
    try:
        [(status, output, _)] = process.capture([command], env={**os.environ, **environ}, timeout=_TIMEOUT, feed=feed)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return output if status == 0 else None
