"""How a sync reaches a server: certificates, proxies, addresses, and what becomes of a connection that breaks."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import certifi
import pytest
from requests.exceptions import InvalidSchema
from servers import Answer, Certificate, certify, serving, socks_proxy

from colab_magics.core import sync
from colab_magics.core.common import cancellation
from colab_magics.core.http import client, links, session
from colab_magics.core.http.client import Client
from colab_magics.errors import LinkError, TransferError
from colab_magics.sandbox import Sandbox

CONTENT = random.Random(1).randbytes(300_000) + b"text " * 100_000
openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates; it is not here")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no bundle of this machine's, and retries at once."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client, "_BACKOFF", 0.0)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Certificate]:
    """Makes certificates, for a server of the given name."""
    return lambda name: certify(tmp_path_factory.mktemp("certificate"), name)


@pytest.fixture(scope="module")
def certificate(certified: Callable[[str], Certificate]) -> Certificate:
    """One for this machine."""
    return certified("IP:127.0.0.1")


def fetched(address: str, into: Path) -> bytes:
    with Client() as opened, opened.open(links.parse(address)) as response:
        opened.download(response, into)
    return into.read_bytes()


@openssl
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_is_trusted_where_the_environment_says_so(
    variable: str, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As other programs do, so that a company's own proxy works; also when the variable names a folder."""
    monkeypatch.setenv(variable, str(certificate.file))
    with serving(Answer(200, CONTENT), certificate.tls) as (base, _):
        assert fetched(f"{base}/x.bin", tmp_path / "x") == CONTENT
        if variable != "SSL_CERT_FILE":
            command = ["openssl", "x509", "-noout", "-hash", "-in", str(certificate.file)]
            digest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            (tmp_path / f"{digest}.0").symlink_to(certificate.file)
            monkeypatch.setenv(variable, str(tmp_path))
            assert fetched(f"{base}/x.bin", tmp_path / "y") == CONTENT


@openssl
def test_a_system_without_authorities_has_certifi_s(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some Pythons find no list on the system they run on."""
    nothing = ssl.DefaultVerifyPaths(None, None, "SSL_CERT_FILE", "", "SSL_CERT_DIR", "")  # type: ignore[arg-type]
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    monkeypatch.setattr(certifi, "where", lambda: str(certificate.file))
    with serving(Answer(200, CONTENT), certificate.tls) as (base, _):
        assert fetched(f"{base}/x.bin", tmp_path / "x") == CONTENT


@openssl
def test_nobody_else_is_trusted(
    certificate: Certificate, certified: Callable[[str], Certificate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown certificate, and one of another server: one line, no retry, and nothing is asked."""
    other = certified("DNS:example.org")
    for bundle, tls in ((other.file, certificate.tls), (other.file, other.tls)):
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        with (
            serving(Answer(200, CONTENT), tls) as (base, seen),
            pytest.raises(TransferError, match="shows no valid certificate; check this machine's clock and proxy"),
        ):
            fetched(f"{base}/x.bin", tmp_path / "x")
        assert seen == []


@openssl
def test_an_interrupt_ends_a_wait_over_tls(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that waits for bytes of a silent server wakes up, and stops."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    answer = Answer(200, CONTENT, cut=100_000, gate=threading.Event())
    run, caught = cancellation.Cancellation(lambda call: call()), list[BaseException]()

    with serving(answer, certificate.tls) as (base, seen):
        thread = run.thread(stopped, f"{base}/x.bin", tmp_path / "x", caught, name="download")
        thread.start()
        assert answer.sent.wait(20)
        run.cancel()
        thread.join(20)
        answer.gate.set()
    assert [type(error) for error in caught] == [cancellation.Stopped]
    assert len(seen) == 1


def test_a_proxy_of_the_environment_is_asked_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For plain addresses it gets the whole of them, and its own password."""
    address = "http://example.org/x.bin?a=1"
    with serving(Answer(200, b"of the proxy")) as (proxy, asked):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.replace("//", "//me:proxy-password-1@"))
            assert fetched(address, tmp_path / "x") == b"of the proxy"
            monkeypatch.delenv(name)
            assert asked[-1][0] == address
            assert asked[-1][1]["Proxy-Authorization"] == "Basic bWU6cHJveHktcGFzc3dvcmQtMQ=="


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "example.org"])
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_who_needs_no_proxy_is_asked_directly(
    name: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine always, whatever it is called, since a proxy would read what is sent there; others by NO_PROXY."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: look_up("127.0.0.1", *rest, **more))
    with serving(Answer(200, b"of the proxy")) as (proxy, asked), serving(Answer(200, b"direct")) as (base, seen):
        monkeypatch.setenv(variable, proxy.replace("//", "//me:proxy-password-2@"))
        if name == "example.org":
            monkeypatch.setenv("no_proxy", name)
        assert fetched(f"{base.replace('127.0.0.1', name)}/x.bin", tmp_path / "x") == b"direct"
    assert asked == []
    assert "proxy-password-2" not in json.dumps(seen)
    assert not any("uthorization" in name for _, headers in seen for name in headers)


def test_a_links_password_reaches_no_proxy(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for Dropbox on this machine; its key reaches none either."""
    folder = box.folder("proj")
    (folder / "a.txt").write_text("a")
    link = box.folder_link(folder, password="the-links-password")
    monkeypatch.setenv("COLAB_MAGICS_SECRET_KEY", "the-links-password")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Answer(502)) as (proxy, asked):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("HTTP_PROXY", proxy)
        assert sync(link, tmp_path / "proj", password="secret:KEY").added == ["a.txt"]
    assert asked == []


@openssl
def test_a_proxy_connects_and_sees_nothing_of_what_is_secured(
    certified: Callable[[str], Certificate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For https it is told host and port, not the path, which grants access; its password goes no further."""
    certificate = certified("DNS:example.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with serving([]) as (proxy, asked), serving(Answer(200, CONTENT), certificate.tls) as (base, seen):
        monkeypatch.setenv("https_proxy", proxy.replace("//", "//me:proxy-password-2@"))
        address = base.replace("127.0.0.1", "example.org")
        assert fetched(f"{address}/secret-path/x.bin", tmp_path / "x") == CONTENT
    assert [path for path, _ in asked] == [address.removeprefix("https://")]
    assert "secret-path" not in json.dumps(asked)
    assert [path for path, _ in seen] == ["/secret-path/x.bin"]
    assert "uthorization" not in json.dumps(seen)


def test_a_socks_proxy_is_asked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PySocks; it also looks up the name when the environment says so."""
    with serving(Answer(200, CONTENT)) as (base, seen), socks_proxy() as (proxy, asked):
        address = base.replace("127.0.0.1", "example.org")
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy}")
        assert fetched(f"{address}/x.bin", tmp_path / "x") == CONTENT
    assert asked == [address.removeprefix("http://")]
    assert len(seen) == 1


def test_a_socks_proxy_without_its_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install, and the proxy is not gone around."""
    monkeypatch.setenv("all_proxy", "socks5h://me:proxy-password-3@127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    monkeypatch.setattr("requests.adapters.SOCKSProxyManager", _no_socks)
    with pytest.raises(TransferError, match=r"speaks SOCKS, .* pip install PySocks") as caught:
        fetched("https://example.org/x", tmp_path / "x")
    assert "proxy-password-3" not in str(caught.value)


def _no_socks(*_: object, **__: object) -> None:
    """Do what requests puts in the place of what it could not import."""
    raise InvalidSchema("Missing dependencies for SOCKS support.")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("kind", ["http", "socks5h"])
def test_a_dead_proxy_is_named(variable: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable that names it, and without its password; it is not the server that is to be blamed."""
    monkeypatch.setenv(variable, f"{kind}://me:proxy-password-4@127.0.0.1:1")
    scheme = "http" if variable == "http_proxy" else "https"
    with pytest.raises(TransferError, match=rf"the proxy \*\*\*@127\.0\.0\.1:1 \({variable}\) gives no conn") as caught:
        fetched(f"{scheme}://example.org/x", tmp_path / "x")
    assert "proxy-password-4" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_named(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that wants another password is asked once."""
    with serving(Answer(407), connects=False) as (proxy, asked):
        monkeypatch.setenv(f"{scheme}_proxy", proxy.replace("//", "//me:proxy-password-5@"))
        with pytest.raises(TransferError, match=rf"proxy.*407.*correct {scheme}_proxy") as caught:
            fetched(f"{scheme}://example.org/x", tmp_path / "x")
    assert "proxy-password-5" not in str(caught.value)
    assert len(asked) == 1


def test_an_interrupt_ends_a_connection_in_the_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far it has come: a name that is looked up, a server that does not accept, one that shakes no hand."""
    looked_up, go_on, look_up = threading.Event(), threading.Event(), socket.getaddrinfo

    def slow(host: str, *rest: object, **more: object) -> object:
        looked_up.set()
        assert host != "example.org" or go_on.wait(60)
        return look_up(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        for address in (
            "http://example.org/x",
            f"http://127.0.0.1:{port}/x",
            f"https://127.0.0.1:{silent.getsockname()[1]}/x",
        ):
            run, caught = cancellation.Cancellation(lambda call: call()), list[BaseException]()
            looked_up.clear()
            thread = run.thread(stopped, address, tmp_path / "x", caught, name="download")
            thread.start()
            assert looked_up.wait(20)
            run.cancel()
            thread.join(10)  # less than what a connection may take
            assert [type(error) for error in caught] == [cancellation.Stopped]
        go_on.set()
        for filler in fillers:
            filler.close()


def stopped(address: str, into: Path, caught: list[BaseException]) -> None:
    """Fetch something, and note how that ends."""
    try:
        fetched(address, into)
    except BaseException as error:  # noqa: BLE001 - Stopped is no Exception
        caught.append(error)


def test_a_connection_is_used_again() -> None:
    """After a redirect, whose body is of no interest, and after a content that was read to its end."""
    made: list[object] = []
    answers = [Answer(302, b"moved", {"Location": "/y"}), *[Answer(200, CONTENT)] * 2]
    with serving(answers, keeps=True, made=made) as (base, seen), Client() as opened:
        for _ in range(2):
            with opened.open(links.parse(f"{base}/x")) as response:
                assert b"".join(response) == CONTENT
    assert [path for path, _ in seen] == ["/x", "/y", "/x"]
    assert len(made) == 1


def test_a_proxy_that_is_not_asked_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where none is needed, nor where there is nothing to fetch."""
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    with serving(Answer(200, b"data")) as (base, _):
        assert sync(f"{base}/x.bin", tmp_path / "x.bin").status == "synced"
        assert sync(f"{base}/x.bin", tmp_path / "x.bin", once=True).status == "up-to-date"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_is_none_is_one_line(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the variable, at once."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(TransferError, match=r"REQUESTS_CA_BUNDLE names '.*bundle.pem', which holds no certificates"):
        fetched("https://127.0.0.1:1/x", tmp_path / "x")


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("/a b/ü.bin?q=ä b", "/a%20b/%C3%BC.bin?q=%C3%A4%20b"),
        ("/a%20b/%c3%bc.bin?q=a+b%2F", "/a%20b/%C3%BC.bin?q=a+b%2F"),
        ("/a;b=1/(x)!'*@~.bin", "/a;b=1/(x)!'*@~.bin"),
    ],
)
def test_an_address_that_a_person_wrote_is_escaped_once(typed: str, asked: str, tmp_path: Path) -> None:
    """What is escaped already stays as it is."""
    with serving(Answer(200, b"data")) as (base, seen):
        assert fetched(base + typed, tmp_path / "x") == b"data"
    assert [path for path, _ in seen] == [asked]


def test_a_redirect_in_utf_8_is_followed(tmp_path: Path) -> None:
    """Servers write names there as they are."""
    target = "/ü.bin".encode().decode("latin-1")
    with serving([Answer(302, b"", {"Location": target}), Answer(200, b"data")]) as (base, seen):
        assert fetched(f"{base}/x", tmp_path / "x") == b"data"
    assert [path for path, _ in seen] == ["/x", "/%C3%BC.bin"]


@pytest.mark.parametrize("target", ["http://[", "https://127.0.0.1:port/x", "https://a..b/x"])
def test_a_redirect_to_nowhere_is_one_line(target: str, tmp_path: Path) -> None:
    """It is no stack trace, and not tried again."""
    with serving(Answer(302, b"", {"Location": target})) as (base, seen), pytest.raises((TransferError, LinkError)):
        fetched(f"{base}/x", tmp_path / "x")
    assert len(seen) == 1


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate"])
@pytest.mark.parametrize("cut", [None, 100_000])
def test_what_comes_packed_though_nobody_asked_is_unpacked(encoding: str, cut: int | None, tmp_path: Path) -> None:
    """All of it; one that is cut is never taken for whole."""
    packed = zlib.compress(CONTENT) if encoding == "deflate" else gzip.compress(CONTENT)
    headers = {"Content-Encoding": encoding}
    with serving(Answer(200, packed, headers, cut=cut)) as (base, seen):
        if cut is None:
            assert fetched(f"{base}/x.bin", tmp_path / "x") == CONTENT
        else:
            with pytest.raises(TransferError, match="ended early"):
                fetched(f"{base}/x.bin", tmp_path / "x")
    assert len(seen) == (1 if cut is None else 5)


@pytest.mark.parametrize(("encoding", "match"), [("br", "packs what it sends with 'br'"), ("gzip", "is damaged")])
def test_a_packing_that_is_not_understood_is_one_line(encoding: str, match: str, tmp_path: Path) -> None:
    """It is not written as if it were the content."""
    with (
        serving(Answer(200, CONTENT, {"Content-Encoding": encoding})) as (base, _),
        pytest.raises(TransferError, match=match),
    ):
        fetched(f"{base}/x.bin", tmp_path / "x")


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it stays silent: before the answer, or in its middle."""
    monkeypatch.setattr(session, "_SILENCE", 0.05)
    for cut, match in ((None, "does not answer"), (1000, "stopped answering")):
        answer = Answer(200, CONTENT, cut=cut, gate=threading.Event())
        with serving(answer) as (base, seen):
            with pytest.raises(TransferError, match=match):
                fetched(f"{base}/x.bin", tmp_path / "x")
            answer.gate.set()
        assert len(seen) == 5


def test_certificates_are_read_only_when_something_is_secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer to read than a small file takes to come."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(ssl, "create_default_context", never)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", never)
    with serving(Answer(200, b"data")) as (base, _):
        assert fetched(f"{base}/x", tmp_path / "x") == b"data"
