"""The sandbox as a whole: how it starts and ends, what it keeps private, and that its packages install."""

from __future__ import annotations

import ast
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from colab_magics import sandbox

VARIABLES = ("COLAB_MAGICS_DROPBOX_URL", "COLAB_MAGICS_TOKEN_FILE")


def _port(address: str) -> int:
    port = urlsplit(address).port
    assert port
    return port


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with none of the variables that a sandbox sets."""
    for name in (*VARIABLES, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        # Set first: pytest then restores it whatever the test does.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_an_active_sandbox_is_what_this_process_uses(clean: pytest.MonkeyPatch) -> None:
    """Starting sets the two variables, stopping puts back what was there."""
    clean.setenv(VARIABLES[1], "/before")
    with sandbox.start() as box:
        assert os.environ[VARIABLES[0]] == box.dropbox_url
        assert os.environ[VARIABLES[1]] == str(box.token_file)
        assert box.token not in "".join(os.environ.values())
    assert VARIABLES[0] not in os.environ
    assert os.environ[VARIABLES[1]] == "/before"


def test_an_inactive_sandbox_leaves_the_environment_alone(clean: pytest.MonkeyPatch) -> None:
    """With ``activate=False`` nothing is set."""
    before = dict(os.environ)
    with sandbox.start(activate=False):
        assert dict(os.environ) == before


def test_what_was_set_since_is_left_alone(clean: pytest.MonkeyPatch) -> None:
    """Stopping does not undo somebody else's change."""
    with sandbox.start():
        os.environ[VARIABLES[0]] = "http://elsewhere"
    assert os.environ[VARIABLES[0]] == "http://elsewhere"


def test_a_proxy_is_told_to_stay_out(clean: pytest.MonkeyPatch) -> None:
    """Where a proxy is configured, loopback is exempt while the sandbox runs."""
    clean.setenv("http_proxy", "http://proxy.invalid:1")
    clean.setenv("no_proxy", "example.org")
    with sandbox.start():
        assert os.environ["no_proxy"] == "example.org,127.0.0.1,localhost"
    assert os.environ["no_proxy"] == "example.org"
    assert "NO_PROXY" not in os.environ


def test_stopping_leaves_nothing_behind() -> None:
    """After `stop`, with connections still open, no thread, port or file is left; a second call does nothing."""
    before = set(threading.enumerate())
    box = sandbox.start(activate=False)
    ports = [_port(box.dropbox_url), int(box.git_host.partition(":")[2])]
    idle = [socket.create_connection(("127.0.0.1", port)) for port in ports for _ in range(3)]
    idle[0].sendall(b"GET /unfinished HTTP/1.1\r\n")
    box.stop()
    box.stop()
    assert set(threading.enumerate()) <= before
    assert not box.root.exists()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    for connection in idle:
        connection.close()


def test_a_client_that_hangs_up_is_no_event(capfd: pytest.CaptureFixture[str]) -> None:
    """Half a request, nonsense, and a client gone in the middle of a download print nothing anywhere."""
    with sandbox.start(activate=False) as box:
        folder = box.folder("big")
        (folder / "zeros").write_bytes(bytes(4_000_000))
        link = box.folder_link(folder, method="stored")
        port = _port(box.dropbox_url)
        for request in (
            b"",
            b"GET",
            b"\x00\xff\r\n\r\n",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(request)
        parts = urlsplit(link)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(f"GET {parts.path}?{parts.query[:-1]}1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            location = connection.recv(4096).decode().partition("Location: ")[2].partition("\r\n")[0]
        where = urlsplit(location)
        with socket.create_connection(("127.0.0.1", _port(location))) as connection:
            connection.sendall(f"GET {where.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connection.recv(10)
    assert capfd.readouterr() == ("", "")


def test_one_that_nobody_stops_ends_with_the_process_without_a_word() -> None:
    """At Python's end no thread can be started any longer."""
    code = "from colab_magics import sandbox\nfor _ in range(5): sandbox.start()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_its_folder_and_token_file_are_private() -> None:
    """Root is 0700 and the token file 0600; it holds the token for the git host and the secrets."""
    with sandbox.start(activate=False) as box:
        assert stat.S_IMODE(box.root.stat().st_mode) == 0o700
        box.add_secret("LINK", "value")
        assert stat.S_IMODE(box.token_file.stat().st_mode) == 0o600
        assert json.loads(box.token_file.read_text()) == {
            box.git_host: {"access_token": box.token, "username": "acme"},
            "secrets": {"LINK": "value"},
        }
        assert box.token not in repr(box)
        assert len(box.token) > 20


def test_it_listens_on_loopback_only() -> None:
    """Nobody outside this machine can reach any of its servers."""
    with sandbox.start(activate=False) as box:
        assert [server._listener.getsockname()[0] for server in box._servers] == ["127.0.0.1"] * 3


def test_an_error_of_the_application_does_not_kill_the_server() -> None:
    """A request that the server cannot make sense of answers 400."""
    with (
        sandbox.start(activate=False) as box,
        socket.create_connection(("127.0.0.1", _port(box.dropbox_url))) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n")
        assert b" 400 " in connection.recv(4096).partition(b"\r\n")[0]


def test_the_sample_for_the_shell_tells_no_secret() -> None:
    """`serve` starts a box with two links and two packages; its lines hold neither token nor link key."""
    box, lines = sandbox.serve()
    with box:
        stored = json.loads(box.token_file.read_text())["secrets"]
        text = "\n".join(lines)
        assert f"export COLAB_MAGICS_DROPBOX_URL={box.dropbox_url}" in lines
        assert f"export COLAB_MAGICS_TOKEN_FILE={box.token_file}" in lines
        assert set(stored) == {"DATASET_LINK", "PROJECT_LINK"}
        assert box.token not in text
        for link in stored.values():
            assert parse_qs(urlsplit(link).query)["rlkey"][0] not in text
        assert (box.root / "dropbox" / "project" / "code" / "train.py").exists()
        assert (box.root / "git" / "acme" / "secretlib.git").is_dir()


# What is installed -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment's Python; pip runs from this one's, since installing another takes seconds."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def pip(python: Path, *args: str, **environment: str) -> str:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "GIT_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "--isolated", "--disable-pip-version-check", *args],
        env={**keep, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def put(files: dict[str, str], folder: Path) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(python: Path, code: str) -> str:
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_a_package_installs_offline_with_its_extras(venv: Path, tmp_path: Path) -> None:
    """pip builds and installs a package, its dependency and its extra with no index at all."""
    core = put(sandbox.package("acme-core", code="x = 1\n"), tmp_path / "core")
    addon = put(sandbox.package("acme.addon", version="0.2"), tmp_path / "addon")
    top = sandbox.package(
        "acme-top",
        version="2.0.1",
        code="import acme_core\ny = acme_core.x + 1\n",
        requires=[f"acme-core @ file://{core}"],
        extras={"more": [f"acme.addon @ file://{addon}", "never ; python_version < '3'"]},
    )
    pip(venv, "install", "--no-index", f"{put(top, tmp_path / 'top')}[more]")
    code = "import acme_top, acme_addon; print(acme_top.__version__, acme_top.y, acme_addon.__version__)"
    assert run(venv, code) == "2.0.1 2 0.2"
    check = "from importlib.metadata import distribution as d; print(d('acme-top').version, len(d('acme-top').files))"
    assert run(venv, check).startswith("2.0.1 ")
    assert pip(venv, "check").strip() == "No broken requirements found."
    pip(venv, "uninstall", "--yes", "acme-top", "acme-core", "acme.addon")


def test_an_editable_package_follows_its_sources(venv: Path, tmp_path: Path) -> None:
    """``pip install -e`` puts the folder on the path: a later change is imported without an install."""
    folder = put(sandbox.package("liveedit", code="x = 1\n"), tmp_path)
    pip(venv, "install", "--no-index", "-e", str(folder))
    (folder / "liveedit" / "__init__.py").write_text("x = 2\n")
    assert run(venv, "import liveedit; print(liveedit.x)") == "2"
    pip(venv, "uninstall", "--yes", "liveedit")


def test_a_private_package_installs_from_the_git_host(venv: Path, tmp_path: Path) -> None:
    """pip installs a private package and the private package that it needs by ``ssh://``, given a token."""
    box, _ = sandbox.serve()
    with box:
        helper = tmp_path / "helper.py"
        helper.write_text(
            "import json, sys\n"
            f"entry = json.load(open({str(box.token_file)!r}))[{box.git_host!r}]\n"
            "print('username=' + entry['username'], 'password=' + entry['access_token'], sep='\\n')\n"
        )
        environment = {
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "credential.helper",
            "GIT_CONFIG_VALUE_0": f"!{sys.executable} -I {helper}",
            "GIT_CONFIG_KEY_1": f"url.http://{box.git_host}/.insteadOf",
            "GIT_CONFIG_VALUE_1": f"ssh://git@{box.git_host}/",
            "no_proxy": "*",
        }
        out = pip(venv, "install", "--no-index", f"git+http://{box.git_host}/acme/secretlib@v1.0", **environment)
        assert run(venv, "import secretlib; print(secretlib.fit([(0, 1), (1, 3)]))") == "(2.0, 1.0)"
        code = "from importlib.metadata import distribution as d; print(d('secretlib').read_text('direct_url.json'))"
        origin = run(venv, code)
        assert json.loads(origin)["url"] == f"http://{box.git_host}/acme/secretlib"
        assert box.token not in out + origin
        assert box.token not in repr(box.requests)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder with a wheel, made by the package's own backend in a process of its own."""
    folder = put(sandbox.package("wheely", requires=["a-b>=1"], extras={"x": ["c;python_version>'3'"]}), tmp_path)
    (folder / "out").mkdir()
    code = "import _build; _build.build_wheel('out')"
    subprocess.run([sys.executable, "-B", "-c", code], cwd=folder, check=True, capture_output=True)
    return folder / "out"


def test_a_wheel_is_valid_and_always_the_same(built: Path) -> None:
    """METADATA names requirements and extras, RECORD every file, and a rebuild has the same bytes."""
    wheel = built / "wheely-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("wheely-1.0.0.dist-info/METADATA").decode()
        record = archive.read("wheely-1.0.0.dist-info/RECORD").decode()
        assert [line.split(",")[0] for line in record.splitlines()] == archive.namelist()
    assert "Requires-Dist: a-b>=1\n" in metadata
    assert "Provides-Extra: x\nRequires-Dist: c ; (python_version>'3') and extra == \"x\"\n" in metadata
    first = wheel.read_bytes()
    code = "import _build; _build.build_wheel('out')"
    subprocess.run([sys.executable, "-B", "-c", code], cwd=built.parent, check=True)
    assert wheel.read_bytes() == first


def test_a_package_is_plain_python_of_the_oldest_version() -> None:
    """The build backend parses as Python 3.10, and a name that cannot be imported is refused."""
    ast.parse(sandbox.package("x")["_build.py"], feature_version=(3, 10))
    with pytest.raises(ValueError, match="no name for a Python package"):
        sandbox.package("1st")
