"""Logging in to Dropbox: OAuth 2.0 with PKCE (RFC 7636), without a redirect, so that it works on any machine.

The app is the person's own: its key is no secret, and with PKCE there is no other.
"""

from __future__ import annotations

import base64
import hashlib
import secrets as random
from pathlib import Path
from urllib.parse import urlencode

from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.settings import Settings
from colab_magics.core.dropbox.api import Api
from colab_magics.core.dropbox.credentials import APP_VARIABLES, LoginCredentials, address, ask_for_tokens, find
from colab_magics.core.secrets import sources, tokenfile
from colab_magics.errors import PlanError, TokenError, TransferError

__all__ = ["login", "logout"]

_SCOPES = "files.metadata.read, files.content.read, files.content.write, sharing.read"


def login(service: str = "dropbox", *, settings: Settings | None = None, progress: Progress = SILENT) -> Path:
    """Log in to a Dropbox account, asking a person; what allows it is written to the token file.

    Parameters
    ----------
    service : {'dropbox'}, optional
        Where to log in.
    settings : Settings, optional
        Says where the token file is, and who is asked; by default read from the environment.
    progress : Progress
        Says what to do, in four steps at most.

    Returns
    -------
    Path
        The token file.

    Raises
    ------
    TokenError
        When nobody can be asked, or Dropbox does not accept what was answered.
    """
    settings = _checked(service, settings)
    file = tokenfile.read(settings)  # first: one that is malformed is not written to
    if settings.ask is None:
        raise TokenError(
            "nobody can be asked for a code here; in a notebook run colab_magics.login('dropbox') in a cell, elsewhere "
            "colab-magics login dropbox in a terminal"
        )
    known = sources.from_environment(APP_VARIABLES)
    key = known[0].partition(":")[0] if known else file.dropbox.get("app_key", "") if file else ""
    step = 1
    if not key:
        where = address(settings.dropbox_url, "www", "/developers/apps/create")
        progress.say(
            f"{step}. Once: make an app on {where} (Scoped access; Full Dropbox, or App folder), tick {_SCOPES} on its "
            "Permissions page, and Submit"
        )
        progress.say(f"{step + 1}. Copy its App key from the Settings page, and paste it here")
        key, step = _asked("App key: ", settings), step + 2
    verifier = random.token_urlsafe(64)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    query = {"client_id": key, "response_type": "code", "token_access_type": "offline"}
    query |= {"code_challenge": challenge, "code_challenge_method": "S256"}
    progress.say(f"{step}. Open {address(settings.dropbox_url, 'www', '/oauth2/authorize')}?{urlencode(query)}")
    progress.say(f"{step + 1}. Click Allow, copy the code that is shown, and paste it here (it stays hidden)")
    form = {"grant_type": "authorization_code", "code": _asked("code: ", settings), "code_verifier": verifier}
    from colab_magics.core.http.session import Session  # here: a wrong call needs none

    with Session({"User-Agent": "colab-magics"}) as session:
        try:
            answer = ask_for_tokens(session, settings.dropbox_url, {**form, "client_id": key}, progress)
        except TokenError as error:
            raise TokenError(f"{error} (a code is good once, for some minutes)") from None
    refresh_token = answer.get("refresh_token")
    if not refresh_token:
        raise TokenError("Dropbox gave no lasting login; log in again: colab-magics login dropbox")
    path = tokenfile.place_to_write(settings)
    try:
        tokenfile.write_login(path, {"app_key": key, "refresh_token": str(refresh_token)})
    except OSError as error:
        reason = error.strerror or "error"
        raise TokenError(
            f"the token file {tokenfile.brief(path)} cannot be written: {reason}; correct its rights"
        ) from None
    progress.say(f"logged in to Dropbox; {tokenfile.brief(path)} keeps it, readable by you alone")
    return path


def logout(service: str = "dropbox", *, settings: Settings | None = None, progress: Progress = SILENT) -> None:
    """Forget a login: tell Dropbox to accept it no longer, and take it out of the token file.

    Parameters
    ----------
    service, settings, progress
        As for `login`.
    """
    settings = _checked(service, settings)
    file = tokenfile.read(settings)
    if file is None or not file.dropbox:
        progress.say("nobody is logged in to Dropbox")
        return
    credentials = find(settings)
    told = "Dropbox accepts it no longer"
    if isinstance(credentials, LoginCredentials):
        try:
            with Api(credentials, settings.dropbox_url, progress) as api:
                api.call("auth/token/revoke", None)
        except TokenError:
            pass  # it was not accepted before
        except TransferError as error:
            told = f"Dropbox could not be told, so disconnect the app in your account's settings ({error})"
    tokenfile.write_login(file.path, None)
    progress.say(f"logged out of Dropbox: {tokenfile.brief(file.path)} has no login now; {told}")


def _checked(service: str, settings: Settings | None) -> Settings:
    if service != "dropbox":
        raise PlanError(f"there is no login to {service!r}; the one that there is: dropbox")
    return settings or Settings.load()


def _asked(prompt: str, settings: Settings) -> str:
    answer = sources.from_person(prompt, settings)
    if not answer:
        raise TokenError("nothing was pasted; log in again: colab-magics login dropbox")
    return "".join(answer[0].split())
