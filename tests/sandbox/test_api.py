"""The stand-in for Dropbox's API, asked over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from colab_magics.sandbox import Sandbox

VERIFIER = "a-code-verifier-of-forty-three-characters-or-more"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
BLOCK = 4 << 20


class Caller:
    """Calls the API of a sandbox."""

    def __init__(self, box: Sandbox, session: requests.Session) -> None:
        self.box, self.session = box, session
        form = {"grant_type": "refresh_token", "refresh_token": self.login["refresh_token"]}
        self.token = self.exchange(**form).json()["access_token"]

    @property
    def login(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.box.token_file.read_text())["dropbox"]
        return found

    def exchange(self, **form: str) -> requests.Response:
        form.setdefault("client_id", self.box.app_key)
        return self.session.post(f"{self.box.dropbox_url}/oauth2/token", data=form, timeout=20)

    def rpc(self, route: str, arg: object, **headers: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", **headers}
        return self.session.post(f"{self.box.dropbox_url}/2/{route}", json=arg, headers=headers, timeout=20)

    def content(self, route: str, arg: object, body: bytes = b"", **headers: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", "Dropbox-API-Arg": json.dumps(arg), **headers}
        headers |= {"Content-Type": "application/octet-stream"} if body or "upload" in route else {}
        return self.session.post(f"{self.box.dropbox_url}/2/{route}", data=body, headers=headers, timeout=20)

    def start(self, body: bytes, **arg: object) -> str:
        return str(self.content("files/upload_session/start", arg, body).json()["session_id"])

    def append(self, session: str, offset: int, body: bytes, **arg: object) -> requests.Response:
        arg["cursor"] = {"session_id": session, "offset": offset}
        return self.content("files/upload_session/append_v2", arg, body)

    def finish(self, session: str, offset: int, **commit: object) -> requests.Response:
        arg = {"cursor": {"session_id": session, "offset": offset}, "commit": commit}
        return self.content("files/upload_session/finish", arg)


@pytest.fixture
def caller(box: Sandbox) -> Iterator[Caller]:
    box.log_in()
    with requests.Session() as session:
        session.trust_env = False
        yield Caller(box, session)


def content_hash(content: bytes) -> str:
    blocks = [content[start : start + BLOCK] for start in range(0, len(content), BLOCK)]
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()


def summary(answer: requests.Response) -> str:
    assert answer.status_code == 409, answer.text
    return str(answer.json()["error_summary"]).rstrip("./")


def test_a_person_allows_the_app_and_gets_a_code_for_one_login(box: Sandbox, caller: Caller) -> None:
    """The page shows a code; with the verifier it is worth a refresh token, once, and without it nothing."""
    query = f"client_id={box.app_key}&response_type=code&code_challenge={CHALLENGE}&code_challenge_method=S256"
    page = f"{box.dropbox_url}/oauth2/authorize?{query}&token_access_type=offline"
    assert "Allow" in caller.session.get(page, timeout=20).text
    code = re.findall(r'value="([^"]+)"', caller.session.post(page, timeout=20).text)[0]
    tokens = caller.exchange(grant_type="authorization_code", code=code, code_verifier=VERIFIER).json()
    assert tokens["refresh_token"]
    assert tokens["expires_in"] == 14400
    again = caller.exchange(grant_type="authorization_code", code=code, code_verifier=VERIFIER)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    code = re.findall(r'value="([^"]+)"', caller.session.post(page, timeout=20).text)[0]
    assert caller.exchange(grant_type="authorization_code", code=code, code_verifier="other").status_code == 400
    assert caller.session.get(page.replace(box.app_key, "another"), timeout=20).status_code == 400


def test_tokens_expire_and_are_taken_back(box: Sandbox, caller: Caller) -> None:
    """401 with the tag that says which; a new access token comes for the refresh token until that is revoked."""
    box.expire_tokens()
    expired = caller.rpc("files/list_folder", {"path": ""})
    assert (expired.status_code, expired.json()["error"][".tag"]) == (401, "expired_access_token")
    caller.token = caller.exchange(grant_type="refresh_token", **login_of(caller)).json()["access_token"]
    assert caller.rpc("files/list_folder", {"path": ""}).status_code == 200
    box.revoke_login()
    assert caller.rpc("files/list_folder", {"path": ""}).json()["error"][".tag"] == "invalid_access_token"
    assert caller.exchange(grant_type="refresh_token", **login_of(caller)).json()["error"] == "invalid_grant"


def login_of(caller: Caller) -> dict[str, str]:
    return {"refresh_token": caller.login["refresh_token"], "client_id": caller.login["app_key"]}


def test_a_listing_comes_in_parts_with_hashes(box: Sandbox, caller: Caller, proj: Path) -> None:
    """Every file below, with its content_hash, revision and size, over as many calls as it takes."""
    box.limit_listings(2)
    answer = caller.rpc("files/list_folder", {"path": "/PROJ", "recursive": True}).json()
    entries = answer["entries"]
    while answer["has_more"]:
        answer = caller.rpc("files/list_folder/continue", {"cursor": answer["cursor"]}).json()
        assert len(answer["entries"]) <= 2
        entries += answer["entries"]
    files = {entry["path_display"]: entry for entry in entries if entry[".tag"] == "file"}
    assert set(files) == {"/proj/a.txt", "/proj/sub/b.csv"}
    assert files["/proj/sub/b.csv"]["content_hash"] == content_hash(b"b" * 5000)
    before = files["/proj/a.txt"]["rev"]
    (proj / "a.txt").write_text("b")
    assert caller.rpc("files/get_metadata", {"path": "/proj/a.txt"}).json()["rev"] != before
    assert summary(caller.rpc("files/list_folder", {"path": "/nowhere"})) == "path/not_found"
    assert summary(caller.rpc("files/list_folder/continue", {"cursor": "old"})) == "reset"


def test_a_download_takes_ranges_and_describes_the_file(caller: Caller, proj: Path) -> None:
    answer = caller.content("files/download", {"path": "/proj/sub/b.csv"}, Range="bytes=4990-")
    assert (answer.status_code, answer.content) == (206, b"b" * 10)
    assert json.loads(answer.headers["Dropbox-API-Result"])["size"] == 5000
    assert summary(caller.content("files/download", {"path": "/proj/sub"})) == "path/not_file"


def test_what_is_uploaded_conflicts_as_asked(caller: Caller, proj: Path) -> None:
    """add, overwrite and update with a revision; the same content is no conflict, but a strict one is."""

    def upload(body: bytes, **arg: object) -> Any:
        answer = caller.content("files/upload", {"path": "/proj/a.txt", **arg}, body)
        return answer.json() if answer.status_code == 200 else summary(answer)

    rev = caller.rpc("files/get_metadata", {"path": "/proj/a.txt"}).json()["rev"]
    assert upload(b"a")["rev"] == rev
    assert upload(b"a", strict_conflict=True) == "path/conflict/file"
    assert upload(b"new") == "path/conflict/file"
    assert upload(b"new", mode={".tag": "update", "update": rev}, client_modified="2020-01-02T03:04:05Z")["rev"] != rev
    assert (proj / "a.txt").read_bytes() == b"new"
    assert int((proj / "a.txt").stat().st_mtime) == 1577934245
    assert upload(b"newer", mode={".tag": "update", "update": rev}) == "path/conflict/file"
    kept = upload(b"newer", mode={".tag": "update", "update": rev}, autorename=True)
    assert kept["name"] == "a (conflicted copy).txt"
    assert upload(b"newest", mode="overwrite")["content_hash"] == content_hash(b"newest")
    assert upload(b"x", content_hash="0" * 64) == "content_hash_mismatch"
    assert summary(caller.content("files/upload", {"path": "/proj/sub"}, b"x")) == "path/conflict/folder"
    assert summary(caller.content("files/upload", {"path": "/proj/a.txt/b"}, b"x")) == "path/conflict/file_ancestor"
    assert (
        summary(caller.rpc("files/delete_v2", {"path": "/proj/a.txt", "parent_rev": rev})) == "path_write/conflict/file"
    )
    assert caller.rpc("files/delete_v2", {"path": "/proj/a.txt"}).status_code == 200
    assert not (proj / "a.txt").exists()


def test_a_session_takes_pieces_in_order_and_says_where_it_is(caller: Caller, proj: Path) -> None:
    """A wrong offset is answered with the right one; nothing stands at the path before the end."""
    session = caller.start(b"one")
    assert caller.append(session, 3, b"two").status_code == 200
    wrong = caller.append(session, 3, b"two").json()["error"]
    assert wrong == {".tag": "incorrect_offset", "correct_offset": 6}
    assert not (proj / "new.bin").exists()
    assert summary(caller.finish(session, 3, path="/proj/new.bin")) == "lookup_failed/incorrect_offset"
    assert caller.finish(session, 6, path="/proj/new.bin").json()["content_hash"] == content_hash(b"onetwo")
    assert (proj / "new.bin").read_bytes() == b"onetwo"
    assert summary(caller.finish(session, 6, path="/proj/new.bin")) == "lookup_failed/not_found"


def test_a_concurrent_session_takes_pieces_in_any_order(caller: Caller, proj: Path) -> None:
    """Offsets and sizes are multiples of 4 MiB, but for the piece that closes it."""
    session = caller.start(b"", session_type="concurrent")
    assert summary(caller.append(session, 0, b"short")) == "concurrent_session_invalid_data_size"
    assert caller.append(session, BLOCK, b"b" * BLOCK).status_code == 200
    assert caller.append(session, 0, b"a" * BLOCK).status_code == 200
    assert caller.append(session, 2 * BLOCK, b"c", close=True).status_code == 200
    assert caller.finish(session, 2 * BLOCK + 1, path="/proj/big").status_code == 200
    assert (proj / "big").read_bytes() == b"a" * BLOCK + b"b" * BLOCK + b"c"


@pytest.mark.parametrize("route", ["finish_batch", "finish_batch_v2"])
def test_a_batch_commits_each_entry_for_itself(caller: Caller, proj: Path, route: str) -> None:
    """In the order asked for: one that conflicts fails alone, and one whose session is open too."""
    sessions = [caller.start(b"1", close=True), caller.start(b"2", close=True), caller.start(b"3")]
    entries = [
        {"cursor": {"session_id": session, "offset": 1}, "commit": {"path": path}}
        for session, path in zip(sessions, ["/proj/1", "/proj/a.txt", "/proj/3"], strict=True)
    ]
    answer = caller.rpc(f"files/upload_session/{route}", {"entries": entries}).json()
    if answer.get(".tag") == "async_job_id":
        answer = caller.rpc("files/upload_session/finish_batch/check", {"async_job_id": answer["async_job_id"]}).json()
    assert [entry[".tag"] for entry in answer["entries"]] == ["success", "failure", "failure"]
    assert (proj / "1").read_bytes() == b"1"


def test_a_link_is_listed_and_read_by_the_app_alone(box: Sandbox, caller: Caller, link: str) -> None:
    """One folder a call, with no word of where it lies; a wrong password, and a link that is none, are told apart."""
    app = "Basic " + base64.b64encode(f"{box.app_key}:{box.app_secret}".encode()).decode()
    listed = caller.rpc("files/list_folder", {"path": "", "shared_link": {"url": link}}, Authorization=app).json()
    assert {entry["name"] for entry in listed["entries"]} == {"a.txt", "sub", "empty"}
    assert not any("path_lower" in entry for entry in listed["entries"])
    inner = caller.rpc("files/list_folder", {"path": "/sub", "shared_link": {"url": link}}, Authorization=app).json()
    assert [entry["content_hash"] for entry in inner["entries"]] == [content_hash(b"b" * 5000)]
    file = caller.content("sharing/get_shared_link_file", {"url": link, "path": "/a.txt"}, Authorization=app)
    assert file.content == b"a"
    assert caller.rpc("files/get_metadata", {"path": "/proj"}, Authorization=app).status_code == 401
    secret = box.folder_link("proj", password="a password")
    wrong = caller.rpc("sharing/get_shared_link_metadata", {"url": secret, "link_password": "no"})
    assert summary(wrong) == "shared_link_access_denied"
    gone = caller.rpc("sharing/get_shared_link_metadata", {"url": link.replace("/fo/", "/fo/x")})
    assert summary(gone) == "shared_link_not_found"


def test_calls_fail_as_told(box: Sandbox, caller: Caller, proj: Path) -> None:
    """As often as told; with after_work what was asked for is done although nobody hears of it."""
    box.fail_api("files/get_metadata", status=429, error="too_many_requests", retry_after=3)
    refused = caller.rpc("files/get_metadata", {"path": "/proj"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3")
    assert caller.rpc("files/get_metadata", {"path": "/proj"}).status_code == 200
    box.fail_api("files/upload", status=0, after_work=True)
    with pytest.raises(requests.ConnectionError):
        caller.content("files/upload", {"path": "/proj/done.txt"}, b"done")
    assert (proj / "done.txt").read_bytes() == b"done"


def test_the_log_holds_paths_and_no_secret(box: Sandbox, caller: Caller, link: str) -> None:
    caller.content("sharing/get_shared_link_file", {"url": link, "path": "/a.txt"})
    seen = box.requests[-1]
    assert seen.headers["dropbox-api-arg"] == "/a.txt"
    assert caller.token not in repr(box.requests)
    assert link.partition("rlkey=")[2][:20] not in repr(box.requests)


def test_only_who_asks_for_a_login_has_one(box: Sandbox) -> None:
    """Without it the token file knows of no Dropbox account, and the API lets nobody in."""
    assert "dropbox" not in json.loads(box.token_file.read_text())
    answer = requests.post(f"{box.dropbox_url}/2/files/list_folder", json={"path": ""}, timeout=20)
    assert answer.status_code == 401
