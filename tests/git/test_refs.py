"""Refs, asked of real hosts, and what their refusals are called."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from colab_magics.core.git import refs
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.refs import NeedsTokenError, RefusedTokenError, Remote, pick_ref
from colab_magics.core.git.specs import parse_spec
from colab_magics.core.secrets.secrets import Credential, Secret
from colab_magics.errors import InstallError
from colab_magics.sandbox import Sandbox

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
LISTING = f"""\
ref: refs/heads/main\tHEAD
{ONE}\tHEAD
{ONE}\trefs/heads/main
{TWO}\trefs/heads/v1
{THREE}\trefs/heads/feature/x
{TWO}\trefs/tags/abcdef1
aaaa{"0" * 36}\trefs/tags/v1
{THREE}\trefs/tags/v1^{{}}
{THREE}\trefs/pull/7/head
"""


def broker(box: Sandbox, token: str | None = None) -> Broker:
    """A broker that knows a token for the sandbox."""
    return Broker({box.git_host: Credential(Secret(token or box.token, "a test"))})


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (None, Remote(ONE, "main")),
        ("HEAD", Remote(ONE, "main")),
        ("main", Remote(ONE, "main")),
        ("feature/x", Remote(THREE, "feature/x")),
        ("refs/heads/v1", Remote(TWO, "v1")),
        ("v1", Remote(THREE)),  # a tag before a branch, and what an annotated tag points to
        ("refs/pull/7/head", Remote(THREE)),
        ("abcdef1", Remote(TWO)),  # a tag before a commit
        ("1111111", Remote(ONE)),
        ("4444444", Remote("4444444")),  # on no ref's tip: only a clone can complete it
        ("nothing", None),
        ("x", None),
    ],
)
def test_a_ref_is_chosen_as_git_does(ref: str | None, expected: Remote | None) -> None:
    """In the order of gitrevisions(7), by whole names."""
    assert pick_ref(LISTING, parse_spec("acme/lib" + (f"@{ref}" if ref else ""))) == expected


def test_an_empty_repository_says_so() -> None:
    """There is nothing to install."""
    with pytest.raises(InstallError, match="is empty"):
        pick_ref("", parse_spec("acme/lib"))


def test_a_missing_ref_names_near_ones(box: Sandbox) -> None:
    """Near names, or when none is near the newest."""
    lib = box.private_repo("acme/lib", tag="v1.2.0")
    lib.commit({}, tag="v1.2.1", annotated=True)
    with broker(box) as open_broker:
        with pytest.raises(InstallError, match=r"no branch, tag or commit 'v1.2.2'; there is v1.2.[01], v1.2.[01]$"):
            refs.resolve([parse_spec(f"{lib.spec}@v1.2.2")], open_broker)
        with pytest.raises(InstallError, match=r"there is v1.2.1, v1.2.0, main$"):
            refs.resolve([parse_spec(f"{lib.spec}@zzzzzzzz")], open_broker)


def test_every_refusal_is_its_own_error(box: Sandbox) -> None:
    """A wrong token, none, no access, no repository, no network: each is told apart and says what to do."""
    lib = box.private_repo("acme/lib")
    spec = parse_spec(lib.spec)
    with broker(box, "a-wrong-token") as wrong:
        with pytest.raises(RefusedTokenError, match=f"{box.git_host} refused the token from a test.*make a new one"):
            refs.resolve([spec], wrong)
        assert wrong.refused == {box.git_host}
    with Broker({}) as none, pytest.raises(NeedsTokenError, match=box.git_host):
        refs.resolve([spec], none)
    with broker(box) as right:
        with pytest.raises(InstallError, match=r"no repository .*/acme/other.* answers 404 for both"):
            refs.resolve([spec, parse_spec(f"{box.git_host}/acme/other")], right)
        box.deny(lib)
        with pytest.raises(InstallError, match=r"no access to .*acme/lib \(403\).*SSO"):
            refs.resolve([spec], right)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            with pytest.raises(InstallError, match=r"cannot be reached.*check the network"):
                refs.resolve([parse_spec(f"127.0.0.1:{closed.getsockname()[1]}/acme/lib")], right)


def test_a_machine_without_git_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No stack, but what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("colab_magics.core.git.broker.child_path", lambda _=None: str(tmp_path))
    with Broker({}) as empty, pytest.raises(InstallError, match="apt-get install git"):
        refs.resolve([parse_spec("127.0.0.1:9/a/b")], empty)
