"""Private package indexes: their passwords reach pip and uv through a keyring command that asks the broker.

Both know keyring's command line (``keyring get SERVICE USERNAME``) as a source of passwords. A small script of that
name, first on the path, passes the question on; so an index's address carries a user name and nothing else. Where the
token itself is the user name they find it in a netrc file that is on no disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from colab_magics import masking
from colab_magics.core.common.addresses import is_loopback
from colab_magics.core.common.settings import Settings
from colab_magics.core.git import credential_helper
from colab_magics.core.git.broker import Broker
from colab_magics.core.secrets import hosts, secrets
from colab_magics.core.secrets.secrets import Credential, Secret
from colab_magics.errors import InstallError, TokenError

__all__ = ["Indexes"]

#: What goes with a token where the index does not care, as at PyPI and GitLab.
_USERNAME = "__token__"
#: A netrc file wants a password where there is none.
_NO_PASSWORD = "NOPASS"  # noqa: S105 - see above
_VARIABLES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
)
_LINE = re.compile(r"(?P<option>-i|--index-url|--extra-index-url)(?:[ =]+)(?P<url>\S+)$")


class Indexes:
    """The indexes of one installation.

    Parameters
    ----------
    settings : Settings
        Say where tokens are.

    Attributes
    ----------
    credentials : dict of str to Credential
        For each host, with its port where it has one, what its index is shown.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.credentials: dict[str, Credential] = {}
        self._logins: dict[str, Secret] = {}
        # Now, before anything is started: a variable that holds a known secret reaches no child.
        self._cleaned = self._without_passwords(os.environ)

    def options(self, index: str | None, extra: Iterable[str]) -> tuple[str, ...]:
        """Return the options of pip and uv for the indexes that a call names.

        Raises
        ------
        TokenError
            When a password stands in an address.
        InstallError
            When an address is none, or a token for its host would go over plain http.
        """
        found = ["--index-url", self.address(index)] if index else []
        for url in extra:
            found += ["--extra-index-url", self.address(url)]
        return tuple(found)

    def line(self, text: str) -> str:
        """Return a line of a requirements file, without the credentials of the index that it may name."""
        match = _LINE.fullmatch(text)
        if not match or ("${" in match["url"] and not self._known(re.sub(r"//[^/@]*@", "//", match["url"]))):
            return text
        url = re.sub(r"//[^/@]*\$\{\w+\}[^/@]*@", "//", match["url"])
        return f"{match['option']} {self.address(url)}"

    def address(self, url: str) -> str:
        """Return an index's address with the user name that its password is asked for, and without a password."""
        parts = urlsplit(url)
        if parts.password:
            if len("".join(parts.password.split())) >= 8:
                masking.register(unquote(parts.password))
            raise _typed(parts)
        if hosts.takes_token_as_username(_host(parts)) and len(parts.username or "") >= 8:
            masking.register(unquote(parts.username or ""))
            raise _typed(parts)
        credential = self._known(url)
        if credential is None:
            return url
        return self._keep(parts, credential)

    def environment(self, broker: Broker) -> dict[str, str]:
        """Return the environment for an installer that finds the passwords of these indexes with the broker."""
        env = broker.environment({**os.environ, **self._cleaned})
        if self.credentials:
            broker.indexes = dict(self.credentials)
            env["PATH"] = os.pathsep.join([_keyring(broker), env["PATH"]])
            env |= {"PIP_KEYRING_PROVIDER": "subprocess", "UV_KEYRING_PROVIDER": "subprocess"}
        if self._logins:
            env["NETRC"] = broker.unstored("netrc", self._netrc())
        return env

    def _netrc(self) -> str:
        """Return the user's own netrc file, with a line for each host before it that wants its token as a user name."""
        lines = [
            f"machine {host.partition(':')[0]} login {token.reveal()} password {_NO_PASSWORD}\n"
            for host, token in self._logins.items()
        ]
        with contextlib.suppress(OSError, UnicodeDecodeError):  # most have none
            lines.append(Path(os.environ.get("NETRC") or Path.home() / ".netrc").read_text("utf-8"))
        return "".join(lines)

    def _known(self, url: str) -> Credential | None:
        parts = urlsplit(url)
        host = _host(parts)
        if not host or parts.scheme not in {"http", "https"}:
            raise InstallError(f"{url!r} is no address of an index; give it as https://HOST/.../simple")
        credential = self.credentials.get(host) or secrets.host_token(host, self._settings)
        if credential and parts.scheme == "http" and not is_loopback(parts.hostname):
            raise InstallError(f"{url!r} is not https; a token is only sent over https, so give the https:// address")
        return credential

    def _keep(self, parts: SplitResult, credential: Credential) -> str:
        host = _host(parts)
        if hosts.takes_token_as_username(host):
            self._logins[host] = credential.token
            return urlunsplit(parts._replace(netloc=host))
        username = unquote(parts.username or "") or credential.username or _USERNAME
        self.credentials[host] = Credential(credential.token, username)
        return urlunsplit(parts._replace(netloc=f"{username}@{host}"))

    def without_password(self, url: str, source: str) -> str:
        """Return the address of a configured index without its password, which is asked for from now on."""
        parts = urlsplit(url)
        password = parts.username if hosts.takes_token_as_username(_host(parts)) else parts.username and parts.password
        if len(password or "") < 8:
            return url
        return self._keep(parts, Credential(Secret(unquote(password or ""), source)))

    def _without_passwords(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that name indexes with a password, without it: build scripts see them too."""
        cleaned = {}
        for name in _VARIABLES:
            words = []
            for word in environ.get(name, "").split():
                label, at, url = word.rpartition("=") if re.match(r"[\w-]+=\w+://", word) else ("", "", word)
                words.append(label + at + self.without_password(url, f"the environment variable {name}"))
            if words != environ.get(name, "").split():
                cleaned[name] = " ".join(words)
        return cleaned


def _keyring(broker: Broker) -> str:
    """Write the keyring command into the broker's folder, and return the folder to put first on the path."""
    folder = broker.folder / "bin"
    if not folder.exists():
        folder.mkdir()
        words = (sys.executable, "-I", "-S", credential_helper.__file__, str(broker.folder / "socket"), "keyring")
        script = folder / "keyring"
        script.write_text(f'#!/bin/sh\nexec {" ".join(map(shlex.quote, words))} "$@"\n', "utf-8")
        script.chmod(0o700)
    return str(folder)


def _typed(parts: SplitResult) -> TokenError:
    return TokenError(
        f"a token stands in the address of the index on {parts.hostname}: revoke it, make a new one, put that into the "
        "token file for this host, and give the address without it"
    )


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2].lower()
