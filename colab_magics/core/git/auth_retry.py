"""The credentials retry: what failed is done again with what a host turned out to want."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from colab_magics.core.common.settings import Settings
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.refs import NeedsTokenError, RefusedTokenError, TryAgainError
from colab_magics.core.secrets import secrets
from colab_magics.core.secrets.secrets import Credential
from colab_magics.errors import TokenError

__all__ = ["CredentialsRetry"]

_Result = TypeVar("_Result")


class CredentialsRetry:
    """Finds tokens as hosts turn out to want them.

    Parameters
    ----------
    settings : Settings
        Say where tokens are and who can be asked.
    token : str, optional
        ``secret:NAME``, the token that a call gives for the hosts that it names.
    """

    def __init__(self, settings: Settings, token: str | None = None) -> None:
        self._settings, self._token = settings, token
        self._named: set[str] = set()

    def credentials(self, hosts: Iterable[str]) -> dict[str, Credential | None]:
        """Look up what is shown to these hosts, and to those that a dependency may be on."""
        self._named = {host for host in hosts if host}
        every = self._named | set(secrets.token_hosts(self._settings))
        return {host: self._find(host) for host in sorted(every)}

    def run(self, broker: Broker, work: Callable[[], _Result]) -> _Result:
        """Do `work`; where a host turns out to want a token, or another user name with it, find that and do it again.

        Raises
        ------
        TokenError
            When there is none, or it is refused.
        """
        looked: set[str] = set()
        while True:
            try:
                return work()
            except TryAgainError:
                continue
            except NeedsTokenError as error:
                host, hints = str(error), list[str]()
                if host and host not in looked:  # once: what does not help then would not help a second time
                    looked.add(host)
                    broker.credentials[host] = self._find(host, last=True, hints=hints)
                    if broker.credentials[host]:
                        continue
                if error.refused:
                    hints.append(
                        "It refused what this machine's git configuration shows it: git config --list --show-origin "
                        "shows where that stands"
                    )
                problem = secrets.missing_token(host or "the host", self._settings, hints)
            except RefusedTokenError as error:
                if broker.try_next_username(error.host):
                    continue
                problem = TokenError(str(error))
            raise problem

    def _find(self, host: str, *, last: bool = False, hints: list[str] | None = None) -> Credential | None:
        named = self._token if host in self._named else None
        return secrets.host_token(host, self._settings, token=named, last=last, hints=hints)
