"""When a private installation cannot be: what is said, and that no secret is left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import Venv
from installing import INSTALLERS, Place, Ran

from colab_magics import sandbox
from colab_magics.sandbox import Sandbox, package
from colab_magics.sandbox.watch import Watch, find_secret, spying_package


@pytest.fixture(params=INSTALLERS)
def either(request: pytest.FixtureRequest, venv: Venv, tmp_path: Path) -> Place:
    """A virtual environment, once for pip and once for uv."""
    return Place(venv, tmp_path / "temp", request.param)


@pytest.fixture
def place(venv: Venv, tmp_path: Path) -> Place:
    """A virtual environment that pip installs into."""
    return Place(venv, tmp_path / "temp")


def token_file(**hosts: object) -> str:
    """Write a token file into the home folder, and return the name of its place for COLAB_MAGICS_TOKEN_FILE."""
    path = Path.home() / "tokens.json"
    path.write_text(json.dumps({host: {"access_token": token} for host, token in hosts.items()}))
    path.chmod(0o600)
    return str(path)


def clean(ran: Ran, secret: str, place: Place, *folders: Path) -> None:
    """Assert that a secret is nowhere."""
    assert secret not in ran.output
    assert find_secret(secret, Path.home(), Path.cwd(), place.temp, place.venv.site_packages, *folders,
                 but=[Path.home() / "tokens.json"]) == []  # fmt: skip
    assert list(place.temp.iterdir()) == []


def test_the_messages_are_told_apart(either: Place, box: Sandbox) -> None:
    """Token refused, no repository, no access, no ref, no project, a failed build, a conflict, no network: all differ.

    Each names the repository and says what to do; the dependency that is at fault is named, not what needs it.
    """
    lib = box.private_repo("acme/secretlib", requires=[f"innerlib @ git+http://{box.git_host}/acme/innerlib"])
    denied = box.private_repo("acme/denied")
    box.deny(denied)
    broken = box.private_repo(
        "acme/broken", package("broken") | {"_build.py": "raise RuntimeError('no compiler here')"}
    )
    no_project = box.private_repo("acme/docs", {"README": "x"})
    unmet = box.private_repo("acme/unmet", requires=["no-such-project-anywhere"])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{closed.getsockname()[1]}/acme/x"
        specs = [
            lib.spec,
            denied.spec,
            f"{lib.spec}@v9",
            f"{lib.spec}@{'0' * 40}",
            f"{lib.spec}@0000000",
            broken.spec,
            no_project.spec,
            unmet.spec,
            nowhere,
            f"{box.git_host}/acme/nothing",
        ]
        ran = either.run("\n".join(f"install({spec!r})" for spec in specs))
    messages = [answer["message"] for answer in ran.answers]
    expected = [
        "has no repository 127.0.0.1:.*/acme/innerlib, or the token from .* may not see it .*check",
        r"no access to 127.0.0.1:.*/acme/denied \(403\): give it read access",
        "acme/secretlib has no branch, tag or commit 'v9'; there is main",
        "acme/secretlib has no branch, tag or commit '0000.*'; there is main",
        "acme/secretlib has no branch, tag or commit '0000000'; there is main",
        "(?s)the build of .*acme/broken failed; mend .*RuntimeError: no compiler here",
        "acme/docs is no Python project .* give #subdirectory=DIR",
        "acme/unmet needs no-such-project-anywhere, and no index has it",
        "127.0.0.1:.* cannot be reached .*check the network",
        "has no repository 127.0.0.1:.*/acme/nothing",
    ]
    for message, pattern in zip(messages, expected, strict=True):
        with pytest.raises(AssertionError, match=pattern):
            raise AssertionError(message)
    assert {answer["error"] for answer in ran.answers} == {"InstallError"}
    assert "Traceback" not in messages[0]
    assert either.versions() == {}
    clean(ran, box.token, either)


def test_a_token_that_is_refused(either: Place, box: Sandbox, tmp_path: Path) -> None:
    """At the first look, and in the middle of an installation, for a dependency on a second host."""
    wrong = "wrong-token-0123456789"
    lib = box.private_repo("acme/secretlib")
    with sandbox.start(activate=False) as second:
        inner = second.private_repo("acme/innerlib")
        top = box.private_repo("acme/top", requires=[f"innerlib @ git+{inner.url}"])
        tokens = token_file(**{box.git_host: box.token, second.git_host: wrong})
        code = f"install({inner.spec!r})\ninstall({top.spec!r})\n"
        child = either.start(code, COLAB_MAGICS_TOKEN_FILE=tokens)
        with Watch(wrong, [child.pid]) as watch:
            out, err = child.communicate(timeout=300)
        ran = Ran(json.loads(out.splitlines()[-1]), out + err)
        assert watch.found == []
        for answer in ran.answers:
            assert answer["error"] == "TokenError"
            assert f"{second.git_host} refused the token from ~/tokens.json for {inner.spec}" in answer["message"]
            assert "make a new one" in answer["message"]
            assert wrong not in repr(answer)
        clean(ran, wrong, either, tmp_path)
        # Each host has its own.
        tokens = token_file(**{box.git_host: box.token, second.git_host: second.token})
        ran = either.run(f"install({top.spec!r}, {lib.spec!r})\nimport innerlib", COLAB_MAGICS_TOKEN_FILE=tokens)
        assert set(either.versions()) == {"innerlib", "secretlib", "top"}
        for token in (box.token, second.token):
            clean(ran, token, either, tmp_path)


def test_a_token_that_is_missing(either: Place, box: Sandbox) -> None:
    """Nobody there: said where to put one, for the package and for its dependency. Somebody there: asked once."""
    with sandbox.start(activate=False) as second:
        inner = second.private_repo("acme/innerlib")
        lib = box.private_repo("acme/secretlib", requires=[f"innerlib @ git+{inner.url}"])
        ran = either.run(f"install({lib.spec!r})")
        assert ran["error"] == "TokenError"
        assert f"{second.git_host} wants a token" in ran.message
        assert "none was found; put one into" in ran.message
        assert "access_token" in ran.message
        asking = (
            "asked = []\ndef ask(prompt):\n    asked.append(prompt)\n"
            f"    return open({str(second.token_file)!r}).read().split('\"access_token\": \"')[1].split('\"')[0]\n"
            f"install({inner.spec!r}, {lib.spec!r}, asking=ask)\nprint(asked)\n"
        )
        ran = either.run(asking)
        assert ran.output.count(f"\\naccess token for {second.git_host}: ") == 1
        assert f"['{second.git_host} wants a token, and none was found" in ran.output
        assert set(either.versions()) == {"innerlib", "secretlib"}
        clean(ran, second.token, either)


def test_an_ssh_dependency_without_a_token_does_not_hang(place: Place, box: Sandbox, tmp_path: Path) -> None:
    """ssh asks about keys and passwords at a terminal; here it fails at once, and the message names the host."""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nif true </dev/tty; then echo asked >&2; sleep 100; fi 2>/dev/null\n"
                   "echo 'git@none.example.org: Permission denied (publickey).' >&2\nexit 255\n")  # fmt: skip
    ssh.chmod(0o755)
    lib = box.private_repo("acme/secretlib", requires=["innerlib @ git+ssh://git@none.example.org/acme/innerlib"])
    ran = place.run(f"install({lib.spec!r})", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "none.example.org does not know this machine's key" in ran.message
    assert "token file" in ran.message


def test_a_failing_build_sees_no_secret(place: Place, box: Sandbox, tmp_path: Path) -> None:
    """It is shown in the message, masked; the token, and tokens in the environment, were not within its reach."""
    spied = tmp_path / "spied"
    files = spying_package("secretlib", spied)
    files["_build.py"] += "raise RuntimeError('it broke with ' + repr(dict(_os.environ)))\n"
    lib = box.private_repo("acme/secretlib", files)
    other = "glpat-0123456789abcdefghij"
    ran = place.run(f"install({lib.spec!r})", GITLAB_TOKEN=other, COLAB_MAGICS_SECRET_X="another-secret-value")
    assert "RuntimeError: it broke with" in ran.message
    assert spied.stat().st_size > 0
    for secret in (box.token, other, "another-secret-value"):
        assert secret not in repr(ran.answers)
        clean(ran, secret, place, tmp_path)


def test_an_interrupt_leaves_nothing_behind(place: Place, box: Sandbox, tmp_path: Path) -> None:
    """The installer and its build end with it; no temporary folder stays, and no secret."""
    started, spied = tmp_path / "started", tmp_path / "spied"
    os.mkfifo(started)
    files = spying_package("secretlib", spied)
    # It holds the pipe open until it ends: the other end then reads its end.
    files["_build.py"] += (
        f"import time\nheld = open({str(started)!r}, 'w')\nheld.write('x'); held.flush()\ntime.sleep(60)\n"
    )
    lib = box.private_repo("acme/secretlib", files)
    code = f"try:\n    install({lib.spec!r})\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    child = place.start(code)
    with started.open() as pipe:
        assert pipe.read(1) == "x"
        child.send_signal(2)
        out, err = child.communicate(timeout=300)
        assert pipe.read() == ""
    assert "interrupted" in out
    clean(Ran([], out + err), box.token, place, tmp_path)


def test_an_interrupt_while_a_host_is_silent_is_heard_at_once(place: Place, box: Sandbox) -> None:
    """The question to the host ends, and nothing waits for its two minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        child = place.start(f"try:\n    install('{host}/a/b')\nexcept KeyboardInterrupt:\n    print('interrupted')\n")
        line, _ = silent.accept()
        child.send_signal(2)
        out, err = child.communicate(timeout=300)
        line.settimeout(60)
        while line.recv(4096):
            pass
        line.close()
    assert "interrupted" in out, err


def test_a_token_file_that_others_can_read_is_warned_of_once(place: Place, box: Sandbox, tmp_path: Path) -> None:
    """With how to mend it; not for one on a mounted drive, whose rights mean nothing."""
    lib = box.private_repo("acme/secretlib")
    tokens = Path(token_file(**{box.git_host: box.token}))
    tokens.chmod(0o644)
    code = f"install({lib.spec!r}, dry_run=True)\n" * 2
    ran = place.run(code, COLAB_MAGICS_TOKEN_FILE=str(tokens))
    assert [answer["said"] for answer in ran.answers] == [
        ["the token file ~/tokens.json can be read by others on this machine; mend it with: chmod 600 ~/tokens.json"],
        [],
    ]
    assert place.run(code, COLAB_MAGICS_TOKEN_FILE=str(tokens), COLAB_MAGICS_DRIVE_ROOT=str(Path.home()))["said"] == []


def test_a_clone_that_is_interrupted_is_none(place: Place, box: Sandbox, tmp_path: Path) -> None:
    """What is left in a clone's place is nothing, so that the next run makes it whole."""
    data = box.private_repo("acme/data", {"x": "y"})
    lib = box.private_repo("acme/secretlib", submodules={"secretlib/data": data})
    box.deny(data)
    assert "(403)" in place.run(f"install({lib.spec!r}, editable=True)").message
    assert os.listdir("src") == []
    box.deny(data, denied=False)
    place.run(f"install({lib.spec!r}, editable=True)\nimport secretlib")
    subprocess.run(["git", "fsck"], cwd="src/secretlib", check=True, capture_output=True)
