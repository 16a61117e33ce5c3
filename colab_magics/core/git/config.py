"""What stands in a person's own git configuration, and what is set so that a host is shown its token and nothing else.

git merges what it reads in a fixed order (git-config(1), "SCOPES"): system, global, local, then ``GIT_CONFIG_COUNT``,
then ``GIT_CONFIG_PARAMETERS``. Lists (helpers, headers) are emptied by a later empty value. Of two ``insteadOf`` of one
length the first one counts, so ours stand in a system file that includes the machine's.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from colab_magics.core.secrets.hosts import repository_address

__all__ = ["CLONE", "Entry", "headers", "quoted", "read", "rewrites", "write_system"]

#: What a clone's configuration includes, beside it.
CLONE = "colab_magics"

_HEADER = re.compile(r"http\.(?:(?P<url>.+)\.)?extraheader", re.IGNORECASE)
_REWRITE = re.compile(r"url\.(?P<base>.+)\.insteadof", re.IGNORECASE)
_CREDENTIALS = re.compile(r"\s*(?:proxy-)?authorization\s*:|\s*cookie\s*:|\s*private-token\s*:", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:(?:(?P<scheme>\w+):)?//(?:[^/@]*@)?|[\w.-]+@)(?P<host>[\w.-]+)(?P<port>:\d+)?")


@dataclass(frozen=True)
class Entry:
    """A configured value: where it stands (``file:/home/me/.gitconfig``), its key, and the value."""

    scope: str
    origin: str
    key: str
    value: str


def read(clean: Mapping[str, str], environ: Mapping[str, str], folder: Path | None = None) -> list[Entry]:
    """Read all that is configured for git in a folder, in git's order; nothing where git cannot say.

    `environ` has what of git's own variables is not in the `clean` environment, as they hold a known secret.
    """
    command = ["git", "config", "--null", "--show-scope", "--show-origin", "--list"]
    # git refuses a key without its value; which key that was does not matter any longer.
    stand_ins = {name: "left.out" for name in environ if name.startswith(("GIT_CONFIG_KEY", "GIT_CONFIG_VALUE"))}
    env = {**stand_ins, **clean}
    try:
        done = subprocess.run(command, env=env, cwd=folder, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return []
    words = iter(os.fsdecode(done.stdout).split("\0"))
    found = []
    for scope, origin, text in zip(words, words, words, strict=False):
        key, line, value = text.partition("\n")
        found.append(Entry(scope, origin, key, value if line else "true"))
    return found


def headers(entries: Iterable[Entry], base: str) -> list[tuple[str, str]]:
    """Return what empties the headers configured for a host (``https://HOST``), save those that show nothing."""
    reset, kept = {f"http.{base}/.extraHeader": ""}, []
    for entry in entries:
        match = _HEADER.fullmatch(entry.key)
        if match and (match["url"] is None or _host(match["url"]) == _host(base)):
            key = f"http.{match['url'] or f'{base}/'}.extraHeader"  # as specific as the person's, or it does not count
            reset[key] = ""
            kept += [] if _CREDENTIALS.match(entry.value) or not entry.value else [(key, entry.value)]
    return [*reset.items(), *kept]


def rewrites(entries: Iterable[Entry], base: str) -> list[tuple[str, str]]:
    """Return what undoes each rewriting of a host's addresses to other addresses of it: with a token, or for ssh.

    One that leads to another host (a mirror) stays: that is no other way of showing something to this one.
    """
    found = [(f"{base}/", f"{base}/")]
    for entry in entries:
        match = _REWRITE.fullmatch(entry.key)
        if match and _name(match["base"]) == _name(entry.value) == _name(base):
            path = re.sub(r"^(?:\w+://[^/]*|[^/:]*:/?)", "", entry.value)  # "" where it ends with the host's name
            scp = "://" not in entry.value
            found.append((f"{base}/{path}" if scp else f"{base}{path}", entry.value))
    return found


def write_system(
    path: Path, pairs: Iterable[tuple[str, str]], environ: Mapping[str, str], entries: list[Entry]
) -> None:
    """Write a system configuration: ``insteadOf`` for these pairs (address, prefix), then the machine's own."""
    text = "".join(f"[url {quoted(base)}]\n\tinsteadOf = {quoted(prefix)}\n" for base, prefix in pairs)
    own = next((entry.origin.removeprefix("file:") for entry in entries if entry.scope == "system"), None)
    own = environ.get("GIT_CONFIG_SYSTEM", own) if own else None
    path.write_text(text + (f"[include]\n\tpath = {quoted(own)}\n" if own else ""), "utf-8")


def _host(address: str) -> str:
    match = _ADDRESS.match(address)
    if not match:
        return ""
    is_web = (match["scheme"] or "").startswith("http")
    return repository_address(match["host"].lower() + (match["port"] or "") * is_web, "", ssh=not is_web)[0]


def _name(address: str) -> str:
    return _host(address).partition(":")[0]  # over ssh a host has another port


def quoted(text: str) -> str:
    """Return a value as a configuration file has it (git-config(1), "Syntax")."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
