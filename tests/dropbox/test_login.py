"""Logging in and out: the token file, a shell, a notebook, and the consent page in a real browser."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsers
import kernels
import pexpect
import pytest
import requests

from colab_magics import masking
from colab_magics.core import Settings, login, logout
from colab_magics.core.common.progress import Silent
from colab_magics.core.dropbox import credentials, files
from colab_magics.core.dropbox.api import Api
from colab_magics.errors import PlanError, TokenError
from colab_magics.sandbox import Sandbox

_ADDRESS = r"http://127\.0\.0\.1:\d+/oauth2/authorize\?\S+"


class Person(Silent):
    """Reads what to do and does it: opens the page, clicks, and pastes what it shows."""

    def __init__(self, key: str = "") -> None:
        self.lines: list[str] = []
        self.key, self.asked = key, 0

    def say(self, text: str) -> None:
        self.lines.append(text)

    def ask(self, prompt: str) -> str:
        self.asked += 1
        return self.key if prompt.startswith("App key") else allow(re.findall(_ADDRESS, self.lines[-2])[0])


def allow(address: str) -> str:
    page = requests.post(address, timeout=20).text
    return re.findall(r'value="([^"]+)"', page)[0] + "\n"


@pytest.fixture
def token_file(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A token file with something in it, that others may read."""
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"github.com": {"access_token": "a-token-of-github"}, "other": [1, "ü"]}))
    file.chmod(0o644)
    monkeypatch.setenv("COLAB_MAGICS_TOKEN_FILE", str(file))
    return file


def test_four_steps_and_the_token_file_keeps_the_login(box: Sandbox, token_file: Path) -> None:
    """What else is in the file stays; the file is for its owner alone; the login works, and is masked."""
    person = Person(box.app_key)
    assert login("dropbox", settings=Settings.load(ask=person.ask), progress=person) == token_file
    steps = [line for line in person.lines if re.match(r"\d\.", line)]
    assert [line[0] for line in steps] == ["1", "2", "3", "4"]
    data = json.loads(token_file.read_text())
    assert data["github.com"] == {"access_token": "a-token-of-github"}
    assert data["other"] == [1, "ü"]
    assert data["dropbox"]["app_key"] == box.app_key
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert os.listdir(token_file.parent) == [token_file.name]
    refresh = data["dropbox"]["refresh_token"]
    assert refresh not in "\n".join(person.lines)
    assert masking.redact(refresh) == masking.MASK
    box.folder("proj")
    with Api(credentials.login_of(Settings.load()), box.dropbox_url) as api:
        assert [entry.name for entry in files.list_folder(api, "")] == ["proj"]


def test_the_app_is_asked_for_once(box: Sandbox, token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps are left when the token file or the environment names it."""
    first, again = Person(box.app_key), Person()
    login(settings=Settings.load(ask=first.ask), progress=first)
    login(settings=Settings.load(ask=again.ask), progress=again)
    assert (first.asked, again.asked) == (2, 1)
    logout(settings=Settings.load())
    monkeypatch.setenv("COLAB_MAGICS_DROPBOX_APP", box.app_key)
    login(settings=Settings.load(ask=again.ask), progress=again)
    assert again.asked == 2
    assert [line[:2] for line in again.lines[-3:-1]] == ["1.", "2."]


def test_logging_out_is_told_to_dropbox_and_leaves_the_rest(box: Sandbox, token_file: Path) -> None:
    person = Person(box.app_key)
    settings = Settings.load(ask=person.ask)
    login(settings=settings, progress=person)
    credential = credentials.login_of(settings)
    logout(settings=settings, progress=person)
    assert set(json.loads(token_file.read_text())) == {"github.com", "other"}
    with Api(credential, box.dropbox_url) as api, pytest.raises(TokenError):
        files.metadata(api, "/x")
    logout(settings=settings, progress=person)
    assert person.lines[-1] == "nobody is logged in to Dropbox"


def test_offline_a_login_is_forgotten_all_the_same(box: Sandbox, token_file: Path) -> None:
    person = Person(box.app_key)
    settings = Settings.load(ask=person.ask)
    login(settings=settings, progress=person)
    box.fail_api("auth/*", status=503, times=None)
    logout(settings=settings, progress=person)
    assert "disconnect the app in your account's settings" in person.lines[-1]
    assert "dropbox" not in json.loads(token_file.read_text())


def test_what_goes_wrong_is_said_and_changes_nothing(box: Sandbox, token_file: Path) -> None:
    """A wrong code, nothing pasted, nobody to ask, another service: the token file is as it was."""
    before = token_file.read_bytes()
    answers = iter([box.app_key, "a-wrong-code"])
    with pytest.raises(TokenError, match="a code is good once"):
        login(settings=Settings.load(ask=lambda _: next(answers)))
    with pytest.raises(TokenError, match="nothing was pasted"):
        login(settings=Settings.load(ask=lambda _: ""))
    with pytest.raises(TokenError, match=r"colab_magics\.login\('dropbox'\)"):
        login(settings=Settings.load())
    with pytest.raises(PlanError, match="the one that there is: dropbox"):
        login("github")
    assert token_file.read_bytes() == before


def test_a_lasting_place_is_taken_where_there_is_no_file(box: Sandbox, tmp_path: Path, monkeypatch: Any) -> None:
    """The drive, which outlasts the runtime; a login file that is a symlink stays one."""
    monkeypatch.delenv("COLAB_MAGICS_TOKEN_FILE")
    person = Person(box.app_key)
    settings = Settings.load(ask=person.ask, drive_root=tmp_path)
    assert login(settings=settings, progress=person) == tmp_path / "colab_magics" / "tokens.json"
    usual = Path.home() / ".config" / "colab_magics" / "tokens.json"
    usual.parent.mkdir(parents=True)
    usual.symlink_to(tmp_path / "colab_magics" / "tokens.json")
    assert login(settings=settings, progress=person) == usual
    assert usual.is_symlink()


def test_in_a_terminal(box: Sandbox, token_file: Path) -> None:
    """The code is pasted at a prompt that does not show it; without a terminal a notebook's way is named."""
    command = ["-m", "colab_magics", "login", "dropbox"]
    environ: Any = {**os.environ, "COLAB_MAGICS_DROPBOX_APP": box.app_key}
    shell = pexpect.spawn(sys.executable, command, env=environ, encoding="utf-8", timeout=60)
    shell.expect(_ADDRESS)
    address = str(shell.match.group())  # type: ignore[union-attr]
    shell.expect("code: ")
    code = allow(address).strip()
    shell.sendline(code)
    shell.expect(pexpect.EOF)
    assert "logged in to Dropbox" in shell.before
    assert code not in shell.before
    shell.close()
    assert shell.exitstatus == 0
    assert "refresh_token" in json.loads(token_file.read_text())["dropbox"]
    output, status = pexpect.run(
        f"{sys.executable} -m colab_magics logout dropbox", env=environ, withexitstatus=True, encoding="utf-8"
    )
    assert (status, "logged out of Dropbox" in output) == (0, True)


@pytest.mark.parametrize("loaded", [False, True])
def test_in_a_notebook(box: Sandbox, token_file: Path, tmp_path: Path, loaded: bool) -> None:
    """The kernel asks its page, hidden; neither the code nor what it is worth is in anything that the kernel sends."""
    codes = []

    def answer(said: kernels.Said) -> str | None:
        address = re.search(rf"({_ADDRESS})\n", said.stream("stdout"))
        if address is None:
            return None
        codes.append(allow(address[1]).strip())
        return codes[-1]

    with kernels.running(tmp_path / "kernel", HOME=str(tmp_path)) as kernel:
        if loaded:
            kernel.run("%load_ext colab_magics")
        said = kernel.run("import colab_magics; colab_magics.login('dropbox')", answers=(box.app_key, answer))
    assert "logged in to Dropbox" in said.stream("stdout"), said.text
    assert [asked["password"] for asked in said.of("input_request")] == [True, True]
    refresh_token = json.loads(token_file.read_text())["dropbox"]["refresh_token"]
    assert codes[0] not in said.text
    assert refresh_token not in said.text


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium."""
    pytest.importorskip("selenium", reason="selenium is not installed: it comes with the extra 'browser'")
    if not (browsers.CHROMIUM and browsers.CHROMIUM_DRIVER):
        pytest.skip("no chromium and chromedriver on PATH: Debian's packages chromium and chromium-driver")
    with browsers.chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


def test_on_the_page_in_a_browser(box: Sandbox, token_file: Path, browser: Any) -> None:
    """A person opens the address of step 1, clicks Allow, and finds the code to paste."""
    person = Person()

    def ask(_prompt: str) -> str:
        browser.get(re.findall(_ADDRESS, person.lines[-2])[0])
        assert "would like access" in browser.find_element("tag name", "body").text
        browser.find_element("id", "allow").click()
        field = browser.find_element("id", "auth-code-input")
        return str(field.get_attribute("value"))

    os.environ["COLAB_MAGICS_DROPBOX_APP"] = box.app_key
    try:
        login(settings=Settings.load(ask=ask), progress=person)
    finally:
        del os.environ["COLAB_MAGICS_DROPBOX_APP"]
    assert person.lines[-1].startswith("logged in to Dropbox")
