"""Calls of the API, listings and uploads, against the sandbox."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees import fill

from colab_magics import masking
from colab_magics.core import Settings
from colab_magics.core.dropbox import credentials, files
from colab_magics.core.dropbox.api import Api, ApiError
from colab_magics.core.dropbox.files import Entry
from colab_magics.errors import TokenError, TransferError
from colab_magics.sandbox import Sandbox


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pieces of one block, so that a file of some megabytes is sent in several."""
    monkeypatch.setattr(files, "PIECE", 4 << 20)
    return 4 << 20


def pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), files.PIECE):
        yield content[start : start + files.PIECE]


def put(api: Api, path: str, content: bytes, rev: str | None = None) -> Entry:
    return files.upload(api, path, pieces(content), len(content), rev=rev, mtime=1_600_000_000.5)


def routes(box: Sandbox) -> list[str]:
    return [request.path.removeprefix("/2/") for request in box.requests if request.path.startswith("/2/")]


def content(size: int) -> bytes:
    return bytes(range(256)) * (size // 256) + b"x" * (size % 256)


def test_a_folder_is_listed_however_deep(box: Sandbox, api: Api) -> None:
    """Names keep their case although Dropbox looks them up in any, also over several answers."""
    fill(box.folder("Proj"), {"A.txt": "a", "Sub/Deep/b.CSV": "bb", "Sub/ü#?.txt": "u"})
    box.limit_listings(2)
    found = {entry.name: entry for entry in files.list_folder(api, "/proj/")}
    assert set(found) == {"A.txt", "Sub", "Sub/Deep", "Sub/Deep/b.CSV", "Sub/ü#?.txt"}
    assert [name for name, entry in found.items() if not entry.is_file] == ["Sub", "Sub/Deep"]
    assert (found["Sub/Deep/b.CSV"].size, len(found["Sub/Deep/b.CSV"].hash)) == (2, 64)
    assert files.metadata(api, "/proj/a.TXT") == found["A.txt"]._replace(name="A.txt")
    assert files.metadata(api, "/proj/none") is None
    assert {entry.name for entry in files.list_folder(api, "/") if "/" not in entry.name} == {"Proj"}


def test_a_listing_that_is_reset_begins_anew(box: Sandbox, api: Api) -> None:
    fill(box.folder("proj"), {"a": "", "b": ""})
    box.limit_listings(1)
    box.fail_api("files/list_folder/continue", status=409, error="reset")
    assert [entry.name for entry in files.list_folder(api, "/proj")] == ["a", "b"]
    with pytest.raises(ApiError, match=r"dropbox:/none is not there"):
        files.list_folder(api, "/none")


@pytest.mark.parametrize("size", [0, 5, 4 << 20, (4 << 20) + 1, 9 << 20])
def test_a_file_arrives_whole_and_is_verified(box: Sandbox, api: Api, small: int, size: int) -> None:
    """Up to a piece in one request, above it in a session; with its time stamp."""
    entry = put(api, "/new/sub/x.bin", content(size))
    place = box.folder("new") / "sub" / "x.bin"
    assert place.read_bytes() == content(size)
    assert int(place.stat().st_mtime) == 1_600_000_000
    assert entry == files.metadata(api, "/new/sub/x.bin")
    pieces = -(-size // small)
    assert len([route for route in routes(box) if "session" in route]) == (pieces + 2 if pieces > 1 else 0)


def test_nothing_is_overwritten_but_the_revision_that_was_named(box: Sandbox, api: Api) -> None:
    """Where something else stands by now there is a conflict; the same content is none."""
    first = put(api, "/x", b"first")
    assert put(api, "/x", b"first") == first
    with pytest.raises(ApiError) as caught:
        put(api, "/x", b"other")
    assert caught.value.tags == ("path", "conflict", "file")
    second = put(api, "/x", b"second", first.rev)
    with pytest.raises(ApiError, match="dropbox:/x is not what it was"):
        put(api, "/x", b"third", first.rev)
    with pytest.raises(ApiError):
        files.delete(api, "/x", first.rev)
    files.delete(api, "/x", second.rev)
    files.delete(api, "/x", second.rev)
    assert files.metadata(api, "/x") is None


def test_what_changes_while_it_is_read_is_not_committed(box: Sandbox, api: Api, small: int) -> None:
    """What is asked for when all is read stands before the commit, in both ways to send."""

    def check() -> None:
        raise InterruptedError

    for size in (5, 9 << 20):
        data = content(size)
        with pytest.raises(InterruptedError):
            files.upload(api, "/x", pieces(data), size, rev=None, mtime=0, check=check)
        assert files.metadata(api, "/x") is None


@pytest.mark.parametrize("route", ["start", "append_v2", "finish"])
@pytest.mark.parametrize("fault", [{"status": 0}, {"status": 503}, {"status": 429, "error": "too_many_requests"}])
@pytest.mark.parametrize("after_work", [False, True])
def test_a_call_that_is_not_answered_is_made_again(
    box: Sandbox, api: Api, small: int, route: str, fault: dict[str, object], after_work: bool
) -> None:
    """Whether Dropbox did what was asked for or not: the file is there once, whole."""
    box.fail_api(f"files/upload_session/{route}", after_work=after_work, retry_after=0, **fault)  # type: ignore[arg-type]
    entry = put(api, "/x", content(9 << 20))
    assert (box.root / "dropbox" / "x").read_bytes() == content(9 << 20)
    assert entry == files.metadata(api, "/x")


def test_a_session_that_its_last_piece_has_closed_is_finished(box: Sandbox, api: Api, small: int) -> None:
    """Although nobody heard that the piece had arrived, and sending it again is refused."""
    box.fail_api("files/upload_session/append_v2", skip=2, status=0, after_work=True)
    put(api, "/x", content(9 << 20))
    assert (box.root / "dropbox" / "x").read_bytes() == content(9 << 20)


def test_a_piece_that_arrives_damaged_is_refused(box: Sandbox, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropbox compares the digest of each piece before it takes it."""
    monkeypatch.setattr(files, "block_digests", lambda _: b"other")
    with pytest.raises(ApiError, match="content_hash_mismatch"):
        put(api, "/x", b"content")
    assert files.metadata(api, "/x") is None


def test_a_full_dropbox_is_called_one(box: Sandbox, api: Api) -> None:
    box.fail_api("files/upload", status=409, error="path/insufficient_space")
    with pytest.raises(ApiError, match="dropbox:/x does not fit: the Dropbox is full"):
        put(api, "/x", b"content")


def test_an_expired_access_token_is_renewed_once_for_all_threads(box: Sandbox, api: Api) -> None:
    """401 in the midst of work is nobody's concern; the refresh token goes to the token endpoint alone."""
    put(api, "/x", b"x")
    box.expire_tokens()
    box.clear_requests()
    threads = [threading.Thread(target=files.metadata, args=(api, "/x")) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked = [request.path for request in box.requests]
    assert asked.count("/oauth2/token") == 1
    box.expire_tokens()
    assert put(api, "/big", b"y").size == 1


def test_a_login_that_was_taken_back_says_what_to_do(box: Sandbox, api: Api) -> None:
    box.revoke_login()
    with pytest.raises(TokenError, match="log in again: colab-magics login dropbox"):
        files.metadata(api, "/x")
    box.log_in()
    found = credentials.find(Settings.load())
    assert found is not None
    box.fail_api("files/*", status=401, error="missing_scope")
    with Api(found, box.dropbox_url) as other, pytest.raises(TokenError, match="Permissions page"):
        files.metadata(other, "/x")


def test_all_connections_wait_when_dropbox_asks_one_to(box: Sandbox, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After holds for every call that comes after it."""
    waited: list[float] = []
    monkeypatch.setattr("colab_magics.core.common.cancellation.sleep", waited.append)
    box.fail_api("files/get_metadata", status=429, error="too_many_requests", retry_after=7)
    files.metadata(api, "/x")
    assert waited[0] == 7
    assert max(waited[1:]) > 6, "and whoever asks next"
    box.fail_api("files/get_metadata", status=429, error="too_many_requests", retry_after=600, times=None)
    with pytest.raises(TransferError, match="could not be reached: Dropbox asks to wait; try again in 600 s"):
        files.metadata(api, "/x")


def test_secrets_go_where_they_belong(box: Sandbox, api: Api) -> None:
    """Both tokens are masked from the moment they are known, and shown in no error."""
    refresh = json.loads(box.token_file.read_text())["dropbox"]["refresh_token"]
    files.metadata(api, "/x")
    [(access, _)] = credentials._access.values()
    assert masking.redact(f"{access} {refresh}") == "*** ***"
    assert refresh not in repr(credentials.find(Settings.load()))


def test_it_is_asked_at_dropboxs_own_hosts() -> None:
    assert credentials.address("https://www.dropbox.com", "api", "/2/x") == "https://api.dropboxapi.com/2/x"
    assert credentials.address("https://www.dropbox.com/", "content", "/2/x") == "https://content.dropboxapi.com/2/x"
    assert credentials.address("http://127.0.0.1:1/", "www", "/oauth2/token") == "http://127.0.0.1:1/oauth2/token"


def test_whom_to_be(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login before an app; an app needs its secret to open links, and a login no app in the environment."""
    assert credentials.find(Settings.load()) is None
    monkeypatch.setenv("DROPBOX_APP", box.app_key)
    assert credentials.find(Settings.load()) is None
    monkeypatch.setenv("DROPBOX_APP", f"{box.app_key}:{box.app_secret}")
    assert isinstance(credentials.find(Settings.load()), credentials.AppCredentials)
    with pytest.raises(TokenError, match="needs a login"):
        credentials.login_of(Settings.load())
    box.log_in()
    assert credentials.login_of(Settings.load()).app_key == box.app_key


def test_a_half_login_is_refused_without_showing_it(box: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"dropbox": {"refresh_token": "a-refresh-token-of-somebody"}}))
    with pytest.raises(TokenError, match="log in again") as caught:
        credentials.find(Settings.load(token_file=file))
    assert "a-refresh" not in str(caught.value)
