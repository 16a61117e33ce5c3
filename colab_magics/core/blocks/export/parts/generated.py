"""What exported scripts have that is no text of its own: written from what the package knows."""

from __future__ import annotations

import re

from colab_magics.core.secrets.hosts import HOSTS, VARIABLES
from colab_magics.masking.token_prefixes import USERNAMES

__all__ = ["host_functions", "posix_pattern"]

_TOKENS = re.compile(r"\*\*/?|\*|\?|\[!?\]?[^]]*\]|.", re.DOTALL)


def posix_pattern(glob: str) -> str:
    """Return a glob of ``--include`` or ``--exclude`` as a pattern for ``grep -E`` over names that begin with ``./``.

    Parameters
    ----------
    glob : str
        As `colab_magics.core.common.selection.Selection` reads it.

    Returns
    -------
    str
        An extended regular expression (POSIX XBD 9.4).
    """
    glob = re.sub(r"^(\./)+", "/", glob)
    text = "" if "/" in glob.rstrip("/") else "(.*/)?"
    for piece in _TOKENS.findall(glob.strip("/")):
        if piece == "**/":
            text += "(.*/)?"
        elif piece == "**":
            text += ".*"
        elif piece in "*?":
            text += "[^/]" + ("*" if piece == "*" else "")
        elif piece[0] == "[" and len(piece) > 1:
            text += _one_of(piece)
        else:
            text += _literal(piece)
    return rf"^\./{text}(/.*)?$"


def _one_of(piece: str) -> str:
    """Return the pattern of a glob's ``[...]``, which never matches a slash; one that makes no sense is literal."""
    negated = piece[1] == "!"
    inner = piece[2:-1] if negated else piece[1:-1]
    if any(first > last for first, last in re.findall(r"([^]])-([^]])", inner)):
        return _literal(piece)
    inner = inner.replace("/", "")
    if negated:
        return f"[^{inner}/]"
    if inner == "^":
        return r"\^"
    # A caret stands last, where it has no meaning.
    return f"[{inner[1:]}^]" if inner.startswith("^") else f"[{inner}]"


def _literal(text: str) -> str:
    return re.sub(r"([][\\.*^$+?(){}|])", r"\\\1", text)


def host_functions() -> dict[str, str]:
    """Return what is known of git hosts as shell functions, by their names."""
    prefixes: dict[str, list[str]] = {}
    for prefix, username in USERNAMES.items():
        prefixes.setdefault(username, []).append(f"{prefix}*")
    cases = [
        f"    {' | '.join(found)}) echo {username} && return ;;" for username, found in prefixes.items() if username
    ]
    by_host = [f"    {' | '.join(_names(kind.title, kind.names))}) echo {kind.username} ;;" for kind in HOSTS]
    user_for = [
        "# user_for HOST GIVEN: print the user name that goes with $token.",
        "user_for() {",
        "  case $token in",
        *cases,
        "  esac",
        '  if [ -n "$2" ]; then',
        "    printf '%s\\n' \"$2\"",
        "    return",
        "  fi",
        "  case $1 in",
        *by_host,
        "    *) echo x-access-token ;;",
        "  esac",
        "}",
    ]
    token = [
        "# token_of_environment HOST: print the token that the environment has for it.",
        "token_of_environment() {",
        "  case $1 in",
        *(f"    {host}) look_in {' '.join(names)} ;;" for host, names in VARIABLES.items()),
        "  esac",
        "}",
    ]
    hosts = [
        "# Print the hosts that the environment has a token for.",
        "hosts_of_environment() {",
        *(f'  [ -z "$(look_in {" ".join(names)})" ] || echo {host}' for host, names in VARIABLES.items()),
        "}",
    ]
    made = {"user_for": user_for, "token_of_environment": token, "hosts_of_environment": hosts}
    return {name: "\n".join(lines) + "\n" for name, lines in made.items()}


def _names(title: str, names: tuple[str, ...]) -> list[str]:
    """Return what a host's name looks like; a company's own host often says what it is."""
    word = title.split()[0].lower()
    return [*names, "*.visualstudio.com", "*.azure.com"] if word == "azure" else [*names, f"*{word}*"]
