"""A person's own git configuration: the token that was found is what a host is shown, and nobody else sees it."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest
from credentials import TOKEN, credential, server

from colab_magics.core.common.settings import Settings
from colab_magics.core.git import refs
from colab_magics.core.git.auth_retry import CredentialsRetry
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.checkout import checkout
from colab_magics.core.git.refs import NeedsTokenError, Remote
from colab_magics.core.git.specs import parse_spec
from colab_magics.errors import InstallError, TokenError
from colab_magics.sandbox import Sandbox
from colab_magics.sandbox.watch import find_secret

STALE = "a-stale-token-of-the-old-recipe"
BASIC = f"Authorization: Basic {base64.b64encode(f'x:{STALE}'.encode()).decode()}"
#: As `git config` takes them; HOST is the repository's.
CONFIGURED = [
    (f"url.http://x:{STALE}@HOST/.insteadOf", "http://HOST/"),
    (f"url.http://{STALE}@HOST/.insteadOf", "http://HOST/"),
    (f"url.http://x:{STALE}@HOST/acme/.insteadOf", "http://HOST/acme/"),
    (f"url.http://x:{STALE}@HOST.insteadOf", "http://HOST"),
    ("url.ssh://git@HOST/.insteadOf", "http://HOST/"),
    ("url.git@NAME:.insteadOf", "http://HOST/"),
    ("http.extraHeader", BASIC),
    ("http.http://HOST/.extraHeader", BASIC),
    ("http.http://HOST/acme.extraHeader", BASIC),
    ("credential.http://HOST.username", "somebody"),
]


def written(text: str, box: Sandbox) -> str:
    return text.replace("HOST", box.git_host).replace("NAME", box.git_host.partition(":")[0])


@pytest.mark.parametrize(("key", "value"), CONFIGURED)
@pytest.mark.parametrize("place", ["--global", "environment", "parameters"])
def test_a_found_token_is_what_its_host_is_shown(
    key: str, value: str, place: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else is configured for the host, and wherever; a stale token is not what answers for a good one."""
    key, value = written(key, box), written(value, box)
    if place == "environment":
        for name, text in (("COUNT", "1"), ("KEY_0", key), ("VALUE_0", value)):
            monkeypatch.setenv(f"GIT_CONFIG_{name}", text)
    elif place == "parameters":
        monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'{key}'='{value}'")
    else:
        subprocess.run(["git", "config", place, key, value], check=True)
    lib = box.private_repo("acme/lib")
    with Broker({box.git_host: credential(box.token)}) as broker:
        assert refs.resolve([parse_spec(lib.spec)], broker)[0].commit == lib.head


def test_a_clones_own_configuration_does_not_count_either(box: Sandbox, tmp_path: Path) -> None:
    """An address with a token in it, and a header, as a build service leaves them in the clone."""
    lib = box.private_repo("acme/lib")
    spec, clone = parse_spec(lib.spec), tmp_path / "lib"
    with Broker({box.git_host: credential(box.token)}) as broker:
        checkout(spec, Remote(lib.head, "main"), clone, broker)
        for key, value in (
            ("remote.origin.url", f"http://x:{STALE}@{box.git_host}/acme/lib.git"),
            (f"http.http://{box.git_host}/.extraheader", BASIC),
            (f"url.http://x:{STALE}@{box.git_host}/acme/.insteadOf", f"http://{box.git_host}/acme/"),
        ):
            subprocess.run(["git", "config", key, value], cwd=clone, check=True)
        newer = lib.commit({"new.txt": "new"})
        checkout(spec, Remote(newer, "main"), clone, broker)
    assert (clone / "new.txt").exists()


@pytest.mark.parametrize("place", ["--global", "environment", "parameters", "old parameters", "of the host"])
def test_a_helper_that_stores_stores_nothing(place: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through whichever of git's ways it is configured."""
    if place == "environment":
        for name, text in (("COUNT", "1"), ("KEY_0", "credential.helper"), ("VALUE_0", "store")):
            monkeypatch.setenv(f"GIT_CONFIG_{name}", text)
    elif "parameters" in place:
        way = "'credential.helper=store'" if "old" in place else "'credential.helper'='store'"
        monkeypatch.setenv("GIT_CONFIG_PARAMETERS", way)
    else:
        key = f"credential.http://{box.git_host}/acme.helper" if place == "of the host" else "credential.helper"
        subprocess.run(["git", "config", "--global", key, "store"], check=True)
    lib = box.private_repo("acme/lib")
    with Broker({box.git_host: credential(box.token)}) as broker:
        assert refs.resolve([parse_spec(lib.spec)], broker)[0].commit == lib.head
    assert find_secret(box.token, Path.home()) == []


@pytest.mark.parametrize("place", ["http.proxy", "http_proxy", "ALL_PROXY"])
def test_a_host_of_this_machine_is_asked_past_every_proxy(
    place: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would read the token, which goes there in the clear."""
    lib = box.private_repo("acme/lib")
    with server((407, {})) as (proxy, heard):
        if "." in place:
            subprocess.run(["git", "config", "--global", place, f"http://{proxy}"], check=True)
        else:
            monkeypatch.setenv(place, f"http://{proxy}")
        with Broker({box.git_host: credential(box.token)}) as broker:
            assert refs.resolve([parse_spec(lib.spec)], broker)[0].commit == lib.head
    assert heard == []


def test_what_else_is_configured_stays() -> None:
    """A mirror, a header that proves nothing, the machine's own file, and what the environment says of other things."""
    system = Path("system").absolute()
    system.write_text("[alias]\n\tx = status\n")
    environ = {**os.environ, "GIT_CONFIG_SYSTEM": str(system), "GIT_CONFIG_PARAMETERS": "'user.name'='it'\\''s'"}
    del environ["GIT_CONFIG_NOSYSTEM"]
    for key, value in (
        ("http.extraHeader", "X-Trace: 1"),
        ("url.https://mirror.example.org/gh/.insteadOf", "https://github.com/mirrored/"),
    ):
        subprocess.run(["git", "config", "--global", key, value], check=True)
    with Broker({"github.com": credential()}) as broker:
        env = broker.environment(environ)

        def asked(*words: str) -> str:
            return subprocess.run(["git", *words], env=env, capture_output=True, text=True, check=True).stdout.strip()

        assert asked("config", "alias.x") == "status"
        assert asked("config", "user.name") == "it's"
        assert asked("config", "--get-urlmatch", "http.extraHeader", "https://github.com/a/b") == "X-Trace: 1"
        assert asked("ls-remote", "--get-url", "https://github.com/mirrored/b") == "https://mirror.example.org/gh/b"
        assert asked("ls-remote", "--get-url", "git@github.com:a/b") == "https://github.com/a/b"


def test_what_else_git_showed_is_told_and_the_token_not_accused(box: Sandbox) -> None:
    """Where git showed something of its own; without a token of ours too. It is said where to look, and not shown."""
    lib = box.private_repo("acme/lib")
    key = f"url.http://x:{STALE}@{box.git_host}/.insteadOf"
    subprocess.run(["git", "config", "--global", key, f"http://{box.git_host}/"], check=True)
    with Broker({box.git_host: credential(box.token)}) as broker:
        said = f"fatal: Authentication failed for 'http://{box.git_host}/acme/lib.git/'"
        error = refs.explain(said, parse_spec(lib.spec), broker)
    assert isinstance(error, InstallError)
    assert "was not shown the token from a test" in str(error)
    assert "git config --list --show-origin" in str(error)
    with Broker({}) as broker, pytest.raises(NeedsTokenError) as caught:
        refs.resolve([parse_spec(lib.spec)], broker)
    assert caught.value.refused
    with Broker({}) as broker, pytest.raises(TokenError, match="git config --list --show-origin") as told:
        CredentialsRetry(Settings()).run(broker, lambda: refs.resolve([parse_spec(lib.spec)], broker))
    assert STALE not in str(told.value)


def test_a_variable_of_gits_with_a_known_secret_reaches_no_child() -> None:
    """The others do, and git works: it refuses a key without a value."""
    environ = {
        **os.environ,
        "GIT_CONFIG_COUNT": "3",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Bearer {TOKEN}",
        "GIT_CONFIG_KEY_1": f"url.https://x:{TOKEN}@github.com/.insteadOf",
        "GIT_CONFIG_VALUE_1": "gh:",
        "GIT_CONFIG_KEY_2": "user.name",
        "GIT_CONFIG_VALUE_2": "me",
    }
    with Broker({"github.com": credential(TOKEN)}) as broker:
        env = broker.environment(environ)
        done = subprocess.run(["git", "config", "user.name"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "me\n"
    assert not [name for name, value in env.items() if TOKEN in value]
