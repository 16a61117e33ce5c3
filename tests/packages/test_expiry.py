"""A token's expiry, as GitHub's API tells it: asked for in the background, told once."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import Answer, certify, serving

from colab_magics.core.common.progress import Silent
from colab_magics.core.common.settings import Settings
from colab_magics.core.packages import expiry, install
from colab_magics.core.secrets.hosts import api_of
from colab_magics.core.secrets.secrets import Credential, Secret
from colab_magics.sandbox import Sandbox

NOW = dt.datetime(2026, 11, 21, 9, 0, tzinfo=dt.timezone.utc)
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
HEADER = "GitHub-Authentication-Token-Expiration"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("2026-11-25 09:30:00 UTC", "expires in 4 days (2026-11-25 09:30 UTC)"),
        ("2026-11-22 09:30:00 UTC", "expires in 1 day "),
        ("2026-11-21 12:00:00 +0200", "is about to expire"),
        ("2026-11-28 09:00:00 UTC", "expires in 7 days"),
        ("2026-11-28 09:00:01 UTC", None),
        ("2027-01-01 00:00:00 UTC", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_a_token_that_has_a_week_left_is_told_of(header: str | None, said: str | None) -> None:
    """With its source and host; a date that is none says nothing."""
    note = expiry.note(header, "github.com", "the token file", NOW)
    assert note is None if said is None else said in str(note)
    assert note is None or "the token from the token file for github.com" in note


def test_only_github_is_asked_and_each_at_its_own_api() -> None:
    """GitHub's own, with data residency, and a company's server."""
    assert api_of("github.com") == ("api.github.com", "/")
    assert api_of("acme.ghe.com") == ("api.acme.ghe.com", "/")
    assert api_of("github.acme.org:8443") == ("github.acme.org:8443", "/api/v3/")
    for host in ("gitlab.com", "example.org", "127.0.0.1:80", "evilgithub.com", "dev.azure.com"):
        assert api_of(host) is None


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Nothing was asked before; returns what waits until the background is done."""
    monkeypatch.setattr(expiry, "_asked", set())
    monkeypatch.setattr(expiry, "_notes", [])

    def wait_for_all() -> None:
        for each in threading.enumerate():
            if each.name == "expiry":
                each.join(20)

    return wait_for_all


def stand_in(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let a server on this machine stand in for every API; GitHub itself is out of reach."""
    monkeypatch.setattr(expiry, "_ADDRESS", f"{address}{{1}}")


def test_a_host_is_asked_once_for_a_token(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], None]) -> None:
    """The token goes into a header and nowhere else; tokens with no date of their own are not shown."""
    soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=3, hours=1)
    credential = Credential(Secret(TOKEN, "the environment variable GITHUB_TOKEN"))
    with serving(Answer(200, headers={HEADER: f"{soon:%Y-%m-%d %H:%M:%S} UTC"})) as (address, seen):
        stand_in(monkeypatch, address)
        for _ in range(3):
            expiry.ask({"github.com": credential, "gitlab.com": credential, "other.org": None})
        expiry.ask({"github.com": Credential(Secret("gho_0123456789abcdefghij", "x"))})
        wait()
        [(path, headers)] = seen
    assert (path, headers["Authorization"]) == ("/", f"Bearer {TOKEN}")
    [note] = expiry.notes()
    assert "expires in 3 days" in note
    assert TOKEN not in note
    assert expiry.notes() == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates; it is not here")
def test_it_is_asked_as_downloads_are(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[[], None], tmp_path: Path
) -> None:
    """Through the proxy, with the certificates that this machine is set up with; the proxy does not see the token."""
    certificate = certify(tmp_path, "DNS:example.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with serving([]) as (proxy, asked), serving(Answer(200), certificate.tls) as (address, seen):
        monkeypatch.setenv("https_proxy", proxy)
        address = address.replace("127.0.0.1", "example.org")
        stand_in(monkeypatch, address)
        expiry.ask({"github.com": Credential(Secret(TOKEN, "x"))})
        wait()
    assert [path for path, _ in asked] == [address.removeprefix("https://")]
    assert TOKEN not in str(asked)
    assert [headers["Authorization"] for _, headers in seen] == [f"Bearer {TOKEN}"]


def test_trouble_is_nobodys_business(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], None]) -> None:
    """A redirect is not followed, and an answer that is none, or no network, says nothing."""
    with serving(Answer(200)) as (elsewhere, stolen):
        for answer in (Answer(302, headers={"Location": elsewhere}), Answer(500), Answer(200)):
            with serving(answer) as (address, seen):
                monkeypatch.setattr(expiry, "_asked", set())
                stand_in(monkeypatch, address)
                expiry.ask({"github.com": Credential(Secret(TOKEN, "x"))})
                wait()
                assert len(seen) == 1
        monkeypatch.setattr(expiry, "_asked", set())
        expiry.ask({"github.com": Credential(Secret(TOKEN, "x"))})  # the last server has gone
        wait()
        assert stolen == []
    assert expiry.notes() == []


def test_an_installation_passes_it_on(box: Sandbox, monkeypatch: pytest.MonkeyPatch, wait: Callable[[], None]) -> None:
    """For the hosts that it is about; told by the call that comes after the answer."""
    said: list[str] = []

    class Told(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    repo = box.private_repo("acme/lib")
    soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1)
    monkeypatch.setattr(expiry, "api_of", lambda host: ("api", "/") if host == box.git_host else None)
    monkeypatch.setattr(expiry, "PERSONAL", "sandbox-")
    with serving(Answer(200, headers={HEADER: f"{soon:%Y-%m-%d %H:%M:%S} UTC"})) as (address, _):
        stand_in(monkeypatch, address)
        for _ in range(2):
            install.install([repo.spec], dry_run=True, settings=Settings.load(), progress=Told())
            wait()
    assert [f"for {box.git_host} is about to expire" in text for text in said] == [True]
