"""Who asks Dropbox's API: a person who logged in, or an app alone; and where the API is.

An access token lasts four hours. It is kept in memory, and a new one is asked for with the refresh token, which is
sent to the token endpoint and nowhere else (https://developers.dropbox.com/oauth-guide).
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colab_magics import masking
from colab_magics.core.common.addresses import DROPBOX
from colab_magics.core.common.progress import Progress
from colab_magics.core.common.settings import Settings
from colab_magics.core.http.body import Response
from colab_magics.core.http.client import retrying
from colab_magics.core.http.links import Link
from colab_magics.core.http.responses import RetryError, retry_after
from colab_magics.core.secrets import sources, tokenfile
from colab_magics.core.secrets.secrets import Secret
from colab_magics.errors import TokenError, TransferError

if TYPE_CHECKING:
    from colab_magics.core.http.session import Session

__all__ = ["APP_VARIABLES", "AppCredentials", "Credentials", "LoginCredentials", "address", "ask_for_tokens", "find"]

#: Environment variables that name an app: ``key``, or ``key:secret``.
APP_VARIABLES = ("COLAB_MAGICS_DROPBOX_APP", "DROPBOX_APP")

_HOSTS = {"api": "https://api.dropboxapi.com", "content": "https://content.dropboxapi.com", "www": DROPBOX}
_EARLY = 300.0  # seconds before its end that an access token is no longer used
_AGAIN = "log in again: colab-magics login dropbox"

# (token endpoint, refresh token) -> access token and when it ends: syncs and keepers of one process share it.
_access: dict[tuple[str, str], tuple[str, float]] = {}
_lock = threading.Lock()


def address(dropbox_url: str, host: str, path: str) -> str:
    """Return where a path of the API is: on Dropbox's own hosts, or on what stands in for all of them."""
    base = _HOSTS[host] if dropbox_url.rstrip("/") == DROPBOX else dropbox_url.rstrip("/")
    return base + path


def ask_for_tokens(session: Session, dropbox_url: str, form: Mapping[str, str], progress: Progress) -> dict[str, Any]:
    """Exchange a code or a refresh token for what the token endpoint answers.

    Raises
    ------
    TokenError
        When it is refused.
    TransferError
        When there is no answer.
    """
    place = address(dropbox_url, "api", "/oauth2/token")

    def attempt() -> dict[str, Any]:
        with Response(Link(place, "url"), session.ask(place, method="POST", data=form)) as response:
            body = b"".join(response)
            if response.status >= 500 or response.status == 429:
                raise RetryError(f"Dropbox answers with an error ({response.status})", retry_after(response.headers))
            try:
                answer = json.loads(body)
                reason = answer.get("error")
            except (ValueError, AttributeError):
                raise TransferError(f"what answers at {place} is not Dropbox; check COLAB_MAGICS_DROPBOX_URL") from None
            if response.status == 200:
                for kind in {"access_token", "refresh_token"} & answer.keys():
                    masking.register(answer[kind], temporary=kind == "access_token")
                return dict(answer)
        what = {"invalid_grant": "no longer accepts this login", "invalid_client": "does not know this app key"}
        raise TokenError(f"Dropbox {what.get(str(reason), f'refuses the login ({response.status})')}; {_AGAIN}")

    return retrying("Dropbox", attempt, progress, failed="could not be reached")


@dataclass(frozen=True)
class LoginCredentials:
    """A person's: what ``colab-magics login dropbox`` has left in the token file."""

    app_key: str
    refresh_token: Secret

    def authorization(self, session: Session, dropbox_url: str, progress: Progress) -> str:
        """Return the header that shows who asks; a new access token is asked for when there is none that lasts."""
        key = dropbox_url, self.refresh_token.reveal()
        with _lock:
            token, ends = _access.get(key, ("", 0.0))
            if time.monotonic() > ends - _EARLY:
                form = {"grant_type": "refresh_token", "refresh_token": key[1], "client_id": self.app_key}
                answer = ask_for_tokens(session, dropbox_url, form, progress)
                token, ends = str(answer["access_token"]), time.monotonic() + float(answer.get("expires_in", 14400))
                _access[key] = token, ends
        return f"Bearer {token}"

    def forget(self, authorization: str, dropbox_url: str) -> bool:
        """Forget an access token that is no longer accepted, so that the next call asks for a new one."""
        key = dropbox_url, self.refresh_token.reveal()
        with _lock:
            if f"Bearer {_access.get(key, ('',))[0]}" == authorization:
                del _access[key]
        return True


@dataclass(frozen=True)
class AppCredentials:
    """An app's own, which open share links and nothing else."""

    app: Secret

    def authorization(self, _session: Session, _dropbox_url: str, _progress: Progress) -> str:
        """Return the header that shows who asks."""
        pair = base64.b64encode(self.app.reveal().encode()).decode()
        masking.register(pair)
        return f"Basic {pair}"

    def forget(self, _authorization: str, _dropbox_url: str) -> bool:
        """Say that nothing else can be shown."""
        return False


Credentials = LoginCredentials | AppCredentials


def find(settings: Settings) -> Credentials | None:
    """Find whom to be at Dropbox: whoever logged in, else an app (``key:secret``), else nobody."""
    file = tokenfile.read(settings)
    if file and file.dropbox and "refresh_token" in file.dropbox:
        where = tokenfile.brief(file.path)
        return LoginCredentials(file.dropbox["app_key"], Secret(file.dropbox["refresh_token"], where))
    found = sources.from_environment(APP_VARIABLES)
    if file and "DROPBOX_APP" in file.secrets:
        found = file.secrets["DROPBOX_APP"], tokenfile.brief(file.path)
    return AppCredentials(Secret(*found)) if found and ":" in found[0] else None


def login_of(settings: Settings) -> LoginCredentials:
    """Return a person's credentials.

    Raises
    ------
    TokenError
        When nobody logged in; says how to.
    """
    found = find(settings)
    if not isinstance(found, LoginCredentials):
        raise TokenError(
            "dropbox:/PATH needs a login to your Dropbox: colab-magics login dropbox in a shell, or "
            "colab_magics.login('dropbox') in a notebook"
        )
    return found
