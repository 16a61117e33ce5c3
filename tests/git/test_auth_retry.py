"""Doing an installation again where a host turns out to want something else."""

from __future__ import annotations

import subprocess

import pytest

from colab_magics.core.common.process import Finished
from colab_magics.core.common.settings import Settings
from colab_magics.core.git.auth_retry import CredentialsRetry
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.refs import NeedsTokenError
from colab_magics.core.packages.installers import check
from colab_magics.core.secrets.secrets import Credential, Secret
from colab_magics.errors import InstallError, TokenError


def test_repositories_of_azure_are_found_where_https_has_them() -> None:
    """Their path is another one over https: of the projects that are named, and of those that git stumbles over."""
    addresses = {
        "git@ssh.dev.azure.com:v3/acme/my%20proj/lib": "https://dev.azure.com/acme/my%20proj/_git/lib",
        "ssh://git@ssh.dev.azure.com/v3/acme/my%20proj/lib": "https://dev.azure.com/acme/my%20proj/_git/lib",
        "ssh://git@ssh.dev.azure.com:22/v3/acme/my%20proj/lib": "https://dev.azure.com/acme/my%20proj/_git/lib",
        "acme@vs-ssh.visualstudio.com:v3/acme/my%20proj/lib": "https://dev.azure.com/acme/my%20proj/_git/lib",
        "git@ssh.dev.azure.com:v3/acme/other/lib": "git@ssh.dev.azure.com:v3/acme/other/lib",
    }

    def seen(broker: Broker) -> list[str]:
        command, env = ["git", "ls-remote", "--get-url"], broker.environment()
        return [subprocess.check_output([*command, url], env=env, text=True).strip() for url in addresses]

    retry = CredentialsRetry(Settings())
    tries: list[str] = []
    with Broker({"dev.azure.com": Credential(Secret("a-token-0123456789", "a test"))}) as broker:
        assert seen(broker) == list(addresses)
        assert broker.learn("https://dev.azure.com/acme/my%20proj/_git/else")
        assert seen(broker) == list(addresses.values())

        def install() -> None:
            tries.append(seen(broker)[-1])
            line = "git clone ssh://git@ssh.dev.azure.com/v3/acme/other/lib did not run successfully"
            said = f"{line}\ngit@ssh.dev.azure.com: Permission denied (publickey)."
            check(Finished(1 if len(tries) < 2 else 0, said), "lib", None, broker)

        retry.run(broker, install)
    assert tries == ["git@ssh.dev.azure.com:v3/acme/other/lib", "https://dev.azure.com/acme/other/_git/lib"]
    tries.clear()
    with Broker({}) as broker, pytest.raises(InstallError, match="over ssh"):
        retry.run(broker, install)


def test_a_token_that_does_not_help_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What wants a token again, though it was found and is there to be shown, is told and not tried for ever."""
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_0123456789abcdefghijABCDEFGHIJ012345")
    tries: list[int] = []
    with Broker({}) as broker:

        def work() -> None:
            tries.append(1)
            raise NeedsTokenError("github.com")

        with pytest.raises(TokenError, match=r"github\.com wants a token"):
            CredentialsRetry(Settings()).run(broker, work)
    assert len(tries) == 2


@pytest.mark.parametrize("known", [True, False])
def test_a_token_is_wanted_for_an_address_of_plain_http(known: bool) -> None:
    """It is not sent, and the address is what is to be mended."""
    said = "fatal: could not read Username for 'http://git.example.org': terminal prompts disabled"
    secret = Credential(Secret("a-token-0123456789", "a test"))
    with Broker({"git.example.org": secret} if known else {}) as broker:
        with pytest.raises(InstallError, match="plain http; a token is only sent over https") as caught:
            CredentialsRetry(Settings()).run(broker, lambda: check(Finished(1, said), "lib", None, broker))
        assert "\n" not in str(caught.value)
