"""Whether a token will expire soon: GitHub says so with every answer of its API to a personal access token.

"Expiration options for personal access tokens", GitHub's changelog of 2021-07-26, names the header. It is asked for
while git works, at most once for a token in one process, and nobody waits for the answer; there may be none.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import threading
from collections.abc import Mapping

from colab_magics.core.http.responses import RetryError
from colab_magics.core.secrets.hosts import api_of
from colab_magics.core.secrets.secrets import Credential
from colab_magics.errors import TransferError
from colab_magics.masking.patterns.token_prefixes import PERSONAL

__all__ = ["ask", "note", "notes"]

_ADDRESS = "https://{}{}"
_HEADER = "GitHub-Authentication-Token-Expiration"
_SOON = dt.timedelta(days=7)

_asked: set[bytes] = set()
_notes: list[str] = []


def ask(credentials: Mapping[str, Credential | None]) -> None:
    """Ask the hosts, in the background, when what they are shown expires.

    Parameters
    ----------
    credentials : mapping of str to Credential or None
        For each host what it is shown.
    """
    for host, credential in credentials.items():
        if credential is None or not credential.token.reveal().startswith(PERSONAL):
            continue
        api = api_of(host)
        key = hashlib.sha256(f"{host} {credential.token.reveal()}".encode()).digest()
        if api is not None and key not in _asked:
            _asked.add(key)
            # A daemon: nobody waits for it, not even at the end.
            threading.Thread(target=_ask, args=(api, host, credential), name="expiry", daemon=True).start()


def notes() -> list[str]:
    """Return what is to be told, each once; what is not known yet comes with a later call."""
    return [_notes.pop(0) for _ in range(len(_notes))]


def note(header: str | None, host: str, source: str, now: dt.datetime) -> str | None:
    """Say that a token expires soon.

    Parameters
    ----------
    header : str or None
        The date as the host writes it: ``2026-11-25 09:00:00 UTC``, or with an offset such as ``+0200``.
    host, source : str
        Whose token it is, and where it was found.
    now : datetime
        With its time zone.

    Returns
    -------
    str or None
        None when it does not expire within a week, or the host does not say.
    """
    try:
        text = (header or "").strip().replace(" UTC", " +0000")
        ends = dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return None
    if ends - now > _SOON:
        return None
    days = (ends - now).days
    when = "is about to expire" if days < 1 else f"expires in {days} day{'s' * (days > 1)}"
    return f"the token from {source} for {host} {when} ({ends:%Y-%m-%d %H:%M %Z}); make a new one in time"


def _ask(api: tuple[str, str], host: str, credential: Credential) -> None:
    from colab_magics.core.http.session import Session  # here: it takes a while to import

    headers = {"Authorization": f"Bearer {credential.token.reveal()}", "User-Agent": "colab-magics"}
    # A redirect is an answer like any other: it is not followed, so no other host sees the token.
    with contextlib.suppress(RetryError, TransferError), Session(headers) as session:
        header = session.ask(_ADDRESS.format(*api), method="HEAD").headers.get(_HEADER)
        if text := note(header, host, credential.token.source, dt.datetime.now(dt.timezone.utc)):
            _notes.append(text)
