"""Private package indexes: real pip and uv against a real index that wants a password."""

from __future__ import annotations

import base64
import json
import netrc
import os
import secrets
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Venv
from installing import INSTALLERS, Place, wheelhouse

from colab_magics.core import Settings
from colab_magics.core.git.broker import Broker
from colab_magics.core.packages.indexes import Indexes
from colab_magics.errors import InstallError, TokenError
from colab_magics.sandbox import Sandbox
from colab_magics.sandbox.watch import Watch, find_secret

# Of its own: all processes of the machine are watched, and another run of these tests has one in its environment.
TOKEN = f"index-token-{secrets.token_hex(10)}"


class Index:
    """An index (PEP 503) that shows its wheels to one user name and password.

    Attributes
    ----------
    host : str
        Its host and port.
    statuses : list of (str, int)
        Each path that was asked for, with the answer's status.
    """

    def __init__(self, wheels: Path, username: str, password: str) -> None:
        index = self
        self.statuses: list[tuple[str, int]] = []
        wanted = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rstrip("/").rpartition("/")[2]
                links = "".join(
                    f'<a href="/files/{path.name}">{path.name}</a>' for path in wheels.glob(f"{name}-*.whl")
                )
                body = (wheels / name).read_bytes() if name.endswith(".whl") else links.encode()
                status = 200 if body else 404
                if self.headers.get("Authorization") != wanted:
                    status, body = 401, b""
                index.statuses.append((self.path, status))
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - its name

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An index with two projects."""
    started = Index(wheelhouse(tmp_path / "wheels", ("privlib", "1.0"), ("otherpriv", "1.0")), "__token__", TOKEN)
    yield started
    started.stop()


@pytest.fixture(params=INSTALLERS)
def either(request: pytest.FixtureRequest, venv: Venv, tmp_path: Path) -> Place:
    """A virtual environment, once for pip and once for uv."""
    return Place(venv, tmp_path / "temp", request.param)


WITH_INDEX = {"PIP_NO_INDEX": "", "UV_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}


def test_an_index_gets_its_password_and_nobody_else_does(
    either: Place, box: Sandbox, index: Index, tmp_path: Path
) -> None:
    """Named by the call, by a file, or by pip's own variable: it is in no argument, environment, output or file."""
    lib = box.private_repo("acme/secretlib", requires=["privlib"])
    tokens = tmp_path / "tokens.json"
    known = {box.git_host: {"access_token": box.token}, index.host: {"access_token": TOKEN}}
    tokens.write_text(json.dumps(known))
    tokens.chmod(0o600)
    url = f"http://{index.host}/simple"
    Path("r.txt").write_text(
        f"--index-url {url.replace('//', '//me:${GITLAB_TOKEN}@').replace('me', '__token__')}\notherpriv\n"
    )
    code = (
        f"install({lib.spec!r}, index_url={url!r})\nimport privlib\ninstall(requirements=['r.txt'])\nimport otherpriv\n"
    )
    child = either.start(code, COLAB_MAGICS_TOKEN_FILE=str(tokens), **WITH_INDEX)
    with Watch(TOKEN, [child.pid]) as watch:
        out, err = child.communicate(timeout=300)
    assert child.returncode == 0, out + err
    assert set(either.versions()) == {"secretlib", "privlib", "otherpriv"}
    assert watch.found == []
    assert any(index.host in seen for seen in watch.seen)
    assert TOKEN not in out + err
    assert find_secret(TOKEN, Path.home(), Path.cwd(), tmp_path, but=[tokens]) == []
    assert list(either.temp.iterdir()) == []
    # pip's own way of saying it holds a password: it works, and the password leaves the environment.
    for place in (either.venv.site_packages).glob("*priv*"):
        subprocess.run(["rm", "-r", str(place)], check=True)
    variable = "UV_EXTRA_INDEX_URL" if either.installer == "uv" else "PIP_EXTRA_INDEX_URL"
    address = url.replace("//", f"//__token__:{TOKEN}@")
    ways = {**WITH_INDEX, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", variable: address}
    if either.installer == "uv":
        ways |= {"UV_DEFAULT_INDEX": f"http://{index.host}/simple"}
    child = either.start(f"install({lib.spec!r}, force=False)\nimport privlib", **ways)
    with Watch(TOKEN, [child.pid]) as watch:
        out, err = child.communicate(timeout=300)
    assert child.returncode == 0, out + err
    assert watch.found == []
    assert TOKEN not in out + err


def test_an_index_may_want_its_token_as_the_user_name(either: Place, box: Sandbox, tmp_path: Path) -> None:
    """As Gemfury does: the address has no user name, and the token is in no argument, environment, output or file."""
    index = Index(wheelhouse(tmp_path / "wheels", ("privlib", "1.0")), TOKEN, "NOPASS")
    lib = box.private_repo("acme/secretlib", requires=["privlib"])
    tokens = tmp_path / "tokens.json"
    known = {box.git_host: {"access_token": box.token}, index.host: {"access_token": TOKEN}}
    tokens.write_text(json.dumps(known))
    tokens.chmod(0o600)
    # The sandbox's own address is of no host that is known to want this.
    code = "from colab_magics.core.secrets import hosts\n"
    code += f"hosts.takes_token_as_username = lambda name: name == {index.host!r}\n"
    code += f"install({lib.spec!r}, extra_index_urls=['http://{index.host}/simple'])\nimport privlib\n"
    ways = {**WITH_INDEX, "PIP_INDEX_URL": f"http://{index.host}/none", "UV_DEFAULT_INDEX": f"http://{index.host}/none"}
    child = either.start(code, COLAB_MAGICS_TOKEN_FILE=str(tokens), **ways)
    with Watch(TOKEN, [child.pid]) as watch:
        out, err = child.communicate(timeout=300)
    index.stop()
    assert child.returncode == 0, out + err
    assert set(either.versions()) == {"secretlib", "privlib"}, out
    assert watch.found == []
    assert TOKEN not in out + err
    assert find_secret(TOKEN, Path.home(), Path.cwd(), tmp_path, but=[tokens]) == []


def test_a_token_in_the_place_of_a_user_name_is_taken_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Typed, it is refused; in pip's own variable it leaves the environment; the user's own netrc stays in force."""
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"https://{TOKEN}:@pypi.fury.io/acme https://pypi.org/simple")
    (tmp_path / "netrc").write_text("machine example.org login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    indexes = Indexes(Settings())
    with Broker({}) as broker:
        env = indexes.environment(broker)
        assert env["PIP_EXTRA_INDEX_URL"] == "https://pypi.fury.io/acme https://pypi.org/simple"
        assert not [name for name, value in env.items() if TOKEN in value]
        found = netrc.netrc(env["NETRC"])
        assert (found.authenticators("pypi.fury.io") or ())[::2] == (TOKEN, "NOPASS")
        assert (found.authenticators("example.org") or ())[::2] == ("me", "other")
        assert found.authenticators("pypi.org") is None
    assert not Path(env["NETRC"]).exists()
    with pytest.raises(TokenError, match="revoke") as caught:
        Indexes(Settings()).address(f"https://{TOKEN}@pypi.fury.io/acme")
    assert TOKEN not in repr(caught.value)


def test_an_index_without_its_token_shows_nothing(either: Place, box: Sandbox, index: Index) -> None:
    """The message says where to put one."""
    lib = box.private_repo("acme/secretlib", requires=["privlib"])
    ran = either.run(f"install({lib.spec!r}, index_url='http://{index.host}/simple')", **WITH_INDEX)
    assert "token" in ran.message
    assert "into the token file" in ran.message
    assert 200 not in {status for _, status in index.statuses}


def test_addresses_carry_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address's own name, the token file's, or that of any token; a password in it is refused."""
    monkeypatch.setenv("GITLAB_TOKEN", "glpat-0123456789abcdefghij")
    indexes = Indexes(Settings())
    for typed, expected in (
        ("https://gitlab.com/api/v4/simple", "https://gitlab.com/api/v4/simple"),
        ("https://deploy@gitlab.com/x", "https://gitlab.com/x"),
        ("https://pypi.org/simple", "https://pypi.org/simple"),
        ("https://gitlab.com.evil.example/simple", "https://gitlab.com.evil.example/simple"),
    ):
        assert indexes.address(typed) == expected
    assert (
        Indexes(Settings()).line("--extra-index-url=https://x:${T}@gitlab.com/s")
        == "--extra-index-url https://gitlab.com/s"
    )
    for line in ("numpy", "--extra-index-url https://x:${T}@other.example/s", "--find-links wheels"):
        assert indexes.line(line) == line
    indexes = Indexes(Settings())
    assert indexes.options("https://pypi.org/simple", ["https://gitlab.com/s"])[2:] == [
        "--extra-index-url",
        "https://gitlab.com/s",
    ]
    with pytest.raises(TokenError, match="revoke") as caught:
        indexes.address("https://me:hunter2hunter2@gitlab.com/simple")
    assert "hunter2" not in repr(caught.value)
    with pytest.raises(InstallError, match="only sent over https"):
        indexes.address("http://gitlab.com/simple")
    with pytest.raises(InstallError, match="no address of an index"):
        indexes.address("gitlab.com/simple")


def test_a_host_alone_is_shown_its_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the user name of its address, the token file's, or that of any token; no other host is, nor a part of one."""
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"https://me:{TOKEN}@example.org/simple")
    monkeypatch.setenv("GITLAB_TOKEN", "glpat-0123456789abcdefghij")
    indexes = Indexes(Settings())
    for address in ("https://deploy@gitlab.com/simple", "https://pypi.org/simple"):
        indexes.address(address)
    with Broker({}) as broker:
        env = indexes.environment(broker)
        assert env["PIP_EXTRA_INDEX_URL"] == "https://example.org/simple"
        assert not [name for name, value in env.items() if TOKEN in value]
        found = netrc.netrc(env["NETRC"])
    assert (found.authenticators("example.org") or ())[::2] == ("me", TOKEN)
    assert (found.authenticators("gitlab.com") or ())[::2] == ("deploy", "glpat-0123456789abcdefghij")
    for other in ("gitlab.com.evil.example", "evil-gitlab.com", "pypi.org"):
        assert found.authenticators(other) is None
    assert not Path(env["NETRC"]).exists()
