"""The broker: who gets the token, and who does not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from credentials import TOKEN, credential, server

from colab_magics.core.git import refs
from colab_magics.core.git.broker import Broker, clean_environment
from colab_magics.core.git.refs import NeedsTokenError
from colab_magics.core.git.specs import parse_spec
from colab_magics.core.secrets import hosts
from colab_magics.core.secrets.secrets import Secret
from colab_magics.errors import InstallError
from colab_magics.sandbox import Sandbox
from colab_magics.sandbox.watch import find_secret


def fill(broker: Broker, url: str, operation: str = "fill") -> str:
    """Ask real git for the credential of an address, as its transports do."""
    done = subprocess.run(
        ["git", "credential", operation],
        input=f"url={url}\n\n",
        env=broker.environment(),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    return done.stdout


def test_git_is_told_the_token_of_its_own_host() -> None:
    """For https and its very host and port; the user name is the one that goes with the token."""
    with Broker(
        {"github.com": credential(), "refs.example.org:8443": credential("glpat-0123456789abcdefghij")}
    ) as broker:
        answer = fill(broker, "https://github.com/acme/lib.git")
        assert f"username=x-access-token\npassword={TOKEN}\n" in answer
        assert "password=glpat-" in fill(broker, "https://refs.example.org:8443/acme/lib.git")
        assert broker.asked == {"github.com", "refs.example.org:8443"}


@pytest.mark.parametrize(
    "url",
    [
        "http://github.com/acme/lib.git",
        "https://github.com.evil.example/acme/lib.git",
        "https://evil-github.com/acme/lib.git",
        "https://evil.example/github.com/acme/lib.git",
        "https://github.com:8443/acme/lib.git",
        "https://api.github.com/acme/lib.git",
        "https://github.com@evil.example/acme/lib.git",
        "ftp://github.com/acme/lib.git",
        "http://127.0.0.1.evil.example/acme/lib.git",
    ],
)
def test_nobody_else_is_told(url: str) -> None:
    """A plain-http host, a look-alike, another port, a part of the name: git learns nothing, and asks nobody."""
    with Broker({"github.com": credential(), "127.0.0.1.evil.example": credential()}) as broker:
        assert TOKEN not in fill(broker, url)


def test_a_question_past_git_is_answered_no_differently() -> None:
    """Whoever speaks to the socket itself gets nothing for another host or for plain http."""
    with Broker({"github.com": credential()}) as broker:
        for question in (
            "get\nprotocol=http\nhost=github.com\n",
            "get\nprotocol=https\nhost=evil.example\n",
            "get\nprotocol=https\nhost=github.com.evil.example\n",
            "get\nprotocol=https\nhost=github.com \n",
            "get\nhost=github.com\n",
            "get\n",
            "store\nprotocol=https\nhost=github.com\n",
            "",
            "\xff" * 100,
        ):
            assert TOKEN.encode() not in _ask(broker, question)
        assert TOKEN.encode() in _ask(broker, "get\nprotocol=https\nhost=GitHub.com\npath=acme/lib.git\n")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_not_told() -> None:
    """Neither the folder nor the socket lets another user in, even with the folder opened wide."""
    with Broker({"github.com": credential()}) as broker:
        place = broker.folder
        assert place.stat().st_mode & 0o777 == 0o700
        code = (
            "import os, socket, sys\nos.setgid(65534); os.setuid(65534)\n"
            "line = socket.socket(socket.AF_UNIX); line.connect(sys.argv[1])\n"
            "line.sendall(b'get\\nprotocol=https\\nhost=github.com\\n'); line.shutdown(socket.SHUT_WR)\n"
            "print(line.recv(4096))"
        )
        for rights in (0o700, 0o777):
            place.chmod(rights)
            (place / "socket").chmod(0o777)
            command = [sys.executable, "-c", code, str(place / "socket")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert TOKEN not in done.stdout
            turned_away = ("PermissionError", "ConnectionResetError", "BrokenPipeError")
            assert any(kind in done.stderr for kind in turned_away) or "b''" in done.stdout


def test_a_redirect_to_another_host_carries_nothing(box: Sandbox) -> None:
    """Neither when the first host asked for the token before, nor when it did not; a known second host gets its own."""
    lib = box.private_repo("acme/lib")
    with server((401, {"WWW-Authenticate": 'Basic realm="x"'})) as (other, heard):
        redirect = server((302, {"Location": f"http://{other}PATH"}))
        with (
            redirect as (first, _),
            Broker({first: credential()}) as broker,
            pytest.raises(NeedsTokenError, match=other),
        ):
            refs.resolve([parse_spec(f"{first}/acme/lib")], broker)
        assert heard
        assert set(heard) == {None}
    known = {box.git_host: credential(box.token)}
    redirect = server((302, {"Location": f"http://{box.git_host}PATH"}))
    with redirect as (first, _), Broker({**known, first: credential()}) as broker:
        assert refs.resolve([parse_spec(f"{first}/acme/lib")], broker)[0].commit == lib.head
    assert {request.headers.get("authorization") for request in box.requests} == {None, "Basic"}


def test_stored_credentials_are_not_shown_and_not_added_to(box: Sandbox) -> None:
    """A helper of the user's own is neither asked nor told, for a host that the broker serves; for others it is."""
    subprocess.run(["git", "config", "--global", "credential.helper", "store"], check=True)
    store = Path.home() / ".git-credentials"
    store.write_text("https://me:from-the-store@github.com\nhttps://me:from-the-store@other.example.org\n")
    lib = box.private_repo("acme/lib")
    with Broker({"github.com": credential(), box.git_host: credential(box.token)}) as broker:
        assert "from-the-store" not in fill(broker, "https://github.com/acme/lib")
        assert "from-the-store" in fill(broker, "https://other.example.org/acme/lib")
        assert refs.resolve([parse_spec(lib.spec)], broker)[0].commit == lib.head
    assert store.read_text().count("\n") == 2
    assert find_secret(box.token, Path.home()) == []


def test_ssh_addresses_are_fetched_with_the_token() -> None:
    """Each way of writing one becomes https, for hosts that have a token; other hosts keep theirs."""
    with Broker({"github.com": credential(), "none.example.org": None}) as broker:
        for address in ("ssh://git@github.com/a/b", "git@github.com:a/b", "ssh://github.com/a/b",
                        "ssh://git@github.com:22/a/b", "git://github.com/a/b", "ssh://git@github.com:2222/a/b",
                        "ssh://git@ssh.github.com:443/a/b"):  # fmt: skip
            assert _rewritten(broker, address) == "https://github.com/a/b"
        for address in ("ssh://git@none.example.org/a/b", "git@github.com.evil.example:a/b", "/srv/git/a"):
            assert _rewritten(broker, address) == address


def test_the_users_own_git_configuration_stays() -> None:
    """What GIT_CONFIG_COUNT held before is kept; what traces requests, or asks a person, goes."""
    environ = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "me",
        "GIT_TRACE_CURL": "/tmp/trace",
        "GIT_CURL_VERBOSE": "1",
        "GIT_ASKPASS": "/bin/ask",
        "SSH_ASKPASS": "/bin/ask",
        "LANG": "de_DE.UTF-8",
    }
    with Broker({"github.com": credential()}) as broker:
        env = broker.environment(environ)
        found = subprocess.run(["git", "config", "user.name"], env=env, capture_output=True, text=True, check=True)
        assert found.stdout == "me\n"
        assert not {"GIT_TRACE_CURL", "GIT_CURL_VERBOSE", "GIT_ASKPASS", "SSH_ASKPASS"} & set(env)
        assert (env["GIT_TERMINAL_PROMPT"], env["LANG"]) == ("0", "de_DE.UTF-8")
        assert not [name for name, value in env.items() if TOKEN in value]


def test_known_secrets_leave_the_environment_of_children() -> None:
    """By the name that they are looked for under, and by their value under any name."""
    token = Secret("a-secret-that-was-read", "a test")
    environ = {
        "GITHUB_TOKEN": "x",
        "GH_TOKEN": "x",
        "GITLAB_TOKEN": "x",
        "COLAB_MAGICS_SECRET_LINK": "x",
        "MY_OWN": f"Bearer {token.reveal()}",
        "HARMLESS": "yes",
        "PATH": "/bin",
    }
    assert set(clean_environment(environ)) == {"HARMLESS", "PATH"}


def test_the_broker_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its folder goes, its helper fails at once and keeps git from asking anybody else; a long TMPDIR is no matter."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    threads = threading.active_count()
    with Broker({"github.com": credential()}) as broker:
        place, env = broker.folder, broker.environment()
        assert TOKEN in fill(broker, "https://github.com/a/b")
    assert not place.exists()
    assert threading.active_count() == threads
    assert list(long.iterdir()) == []
    helper = next(value for value in env.values() if "credential_helper" in value)
    done = subprocess.run(
        ["sh", "-c", f"{helper.removeprefix('!')} get"], input=b"protocol=https\n", capture_output=True, check=True
    )
    assert done.stdout == b"quit=1\n"


HOSTS = [
    ("github.com", TOKEN, None, "x-access-token"),
    ("github.com", TOKEN, "octo", "octo"),
    ("github.example.com", TOKEN, "acme", "x-access-token"),
    ("acme.ghe.com", TOKEN, None, "x-access-token"),
    ("gitlab.com", "glpat-0123456789abcdefghij", "group", "oauth2"),
    ("refs.example.org", "glpat-0123456789abcdefghij", None, "oauth2"),
    ("gitlab.com", "gldt-0123456789abcdefghij", "gitlab+deploy-token-1", "gitlab+deploy-token-1"),
    ("gitlab.example.org", "a-self-made-token", None, "oauth2"),
    ("bitbucket.org", "ATCTT3xFfGN00123456789", "acme", "x-token-auth"),
    ("bitbucket.org", "ATATT3xFfGF00123456789", "acme", "x-bitbucket-api-token-auth"),
    ("dev.azure.com", "a-personal-access-token", None, "pat"),
    ("acme.visualstudio.com", "a-personal-access-token", None, "pat"),
    ("gitea.example.org", "a-token-of-giteas-own", None, "git"),
    ("codeberg.org", "a-token-of-forgejos-own", "me", "me"),
    ("refs.example.org", "a-token-of-unknown-form", None, "oauth2"),
    ("refs.example.org", "a-token-of-unknown-form", "me", "x-token-auth"),
]


@pytest.mark.parametrize(("host", "token", "given", "insisted"), HOSTS)
def test_each_host_gets_the_user_name_that_it_insists_on(
    host: str, token: str, given: str | None, insisted: str
) -> None:
    """At once where the token or the host's name tells it, else after a refusal; the list has an end."""
    names = hosts.usernames(host, token, given)
    assert insisted in names
    assert len(names) == len(set(names)) <= 4


@pytest.mark.parametrize(("host", "token", "given", "insisted"), HOSTS)
def test_a_server_that_insists_on_a_user_name_is_served(
    host: str, token: str, given: str | None, insisted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real git against a real server that refuses every other name, standing in for the host."""
    from colab_magics import sandbox
    from colab_magics.core.common.settings import Settings
    from colab_magics.core.git.auth_retry import CredentialsRetry

    with sandbox.start(activate=False, token=token) as box:
        lib = box.private_repo("acme/lib")
        box.require_username(insisted)
        usernames = hosts.usernames
        monkeypatch.setattr(hosts, "usernames", lambda _, token, given: usernames(host, token, given))
        with Broker({box.git_host: credential(token, given)}) as broker:
            retry = CredentialsRetry(Settings())
            found = retry.run(broker, lambda: refs.resolve([parse_spec(lib.spec)], broker))
            assert found[0].commit == lib.head


def _ask(broker: Broker, question: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(broker.folder / "socket"))
        line.sendall(question.encode("latin-1"))
        line.shutdown(socket.SHUT_WR)
        return line.recv(4096)


def _rewritten(broker: Broker, address: str) -> str:
    command = ["git", "ls-remote", "--get-url", address]
    return subprocess.run(command, env=broker.environment(), capture_output=True, text=True, check=True).stdout.strip()


def test_an_unusable_network_is_no_missing_token() -> None:
    """A name that does not resolve is told as such, though a token is there."""
    with Broker({"nowhere.invalid": credential()}) as broker, pytest.raises(InstallError, match="cannot be reached"):
        refs.resolve([parse_spec("nowhere.invalid/a/b")], broker)
