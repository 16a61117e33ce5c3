"""Private package indexes: their passwords reach pip and uv in a netrc file that is on no disk.

So an index's address carries no credentials, and a host's are shown to that host alone. The file's format is that of
``ftp``; both installers find it by the variable ``NETRC``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from colab_magics.core.common.addresses import is_loopback
from colab_magics.core.common.settings import Settings
from colab_magics.core.git.broker import Broker
from colab_magics.core.secrets import hosts, secrets
from colab_magics.core.secrets.secrets import Credential, Secret
from colab_magics.errors import InstallError

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
        For each host, with its port where it has one, what its index is shown, with a user name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.credentials: dict[str, Credential] = {}
        # Now, before anything is started: a variable that holds a known secret reaches no child.
        self._cleaned = self._without_passwords(os.environ)

    def options(self, index: str | None, extra: Sequence[str]) -> list[str]:
        """Return the options of pip and uv for the indexes that a call names.

        Raises
        ------
        TokenError
            When a password stands in an address.
        InstallError
            When an address is none, or a token for its host would go over plain http.
        """
        named = [("--index-url", url) for url in [index] if url] + [("--extra-index-url", url) for url in extra]
        return [word for option, url in named for word in (option, self.address(url))]

    def line(self, text: str) -> str:
        """Return a line of a requirements file, without the credentials of the index that it may name."""
        match = _LINE.fullmatch(text)
        if not match or ("${" in match["url"] and not self._known(re.sub(r"//[^/@]*@", "//", match["url"]))):
            return text
        url = re.sub(r"//[^/@]*\$\{\w+\}[^/@]*@", "//", match["url"])
        return f"{match['option']} {self.address(url)}"

    def address(self, url: str) -> str:
        """Return an index's address; without a user name where that and a password are known from now on."""
        parts = urlsplit(url)
        password = _password(parts)
        if parts.password or len(password) >= 8:
            raise secrets.exposed(password, f"a token stands in the address of the index on {parts.hostname}")
        credential = self._known(url)
        return self._keep(parts, credential) if credential else url

    def environment(self, broker: Broker) -> dict[str, str]:
        """Return the environment for an installer that finds these passwords while the broker is open."""
        env = broker.environment({**os.environ, **self._cleaned})
        if self.credentials:
            env["NETRC"] = broker.unstored("netrc", self._netrc())
        return env

    def _netrc(self) -> str:
        """Return the user's own netrc file, with a line for each host before it."""
        lines = []
        for host, credential in self.credentials.items():
            login = (credential.username, credential.token.reveal())
            if hosts.takes_token_as_username(host):
                login = (credential.token.reveal(), _NO_PASSWORD)
            lines.append(f"machine {host.partition(':')[0]} login {login[0]} password {login[1]}\n")
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
        username = unquote(parts.username or "") or credential.username or _USERNAME
        self.credentials[host] = Credential(credential.token, username)
        return urlunsplit(parts._replace(netloc=host))

    def without_password(self, url: str, source: str) -> str:
        """Return the address of a configured index without its password, which is known from now on."""
        parts = urlsplit(url)
        password = _password(parts)
        return self._keep(parts, Credential(Secret(password, source))) if len(password) >= 8 else url

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


def _password(parts: SplitResult) -> str:
    return unquote((parts.username if hosts.takes_token_as_username(_host(parts)) else parts.password) or "")


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2].lower()
