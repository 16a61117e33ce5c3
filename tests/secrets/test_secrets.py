"""Where a secret is found, and where it never shows."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import fakes
import pytest

from colab_magics import masking
from colab_magics.core import Settings
from colab_magics.core.secrets import secrets
from colab_magics.core.secrets.secrets import Secret, host_token, missing_token, named
from colab_magics.errors import TokenError

TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
OTHER = "glpat-ZYXWVUTSRQponmlkjihg"
VALUE = "correct-horse-battery-staple"


def default_file() -> Path:
    """The token file's usual place."""
    return Path.home() / ".config" / "colab_magics" / "tokens.json"


def write(data: object, path: Path | None = None) -> Path:
    """Write a token file."""
    path = path or default_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
    path.chmod(0o600)
    return path


def found(name: str, settings: Settings | None = None) -> tuple[str, str]:
    """The secret's value and its source."""
    secret = named(name, settings or Settings())
    return secret.reveal(), secret.source


def for_host(host: str, settings: Settings | None = None, **kwargs: object) -> str | None:
    """The token for a host."""
    credential = host_token(host, settings or Settings(), **kwargs)  # type: ignore[arg-type]
    return credential.token.reveal() if credential else None


class TestSecret:
    """The type that never prints itself."""

    def test_it_is_three_asterisks_everywhere(self) -> None:
        """No way of turning it into text, copying or pickling shows the value."""
        secret = Secret(VALUE, "a test")
        credential = secrets.Credential(secret, "me")
        for text in (str(secret), repr(secret), f"{secret}", f"{secret:>40}", f"{secret!s} {secret!r}"):
            assert VALUE not in text
            assert "***" in text
        assert VALUE not in repr(credential) + repr({"x": [secret]}) + masking.redact(secret.reveal())
        assert not hasattr(secret, "__dict__")
        for deed in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TokenError, match="not pickled"):
                deed(secret)  # type: ignore[operator]
        with pytest.raises(TypeError):
            json.dumps(secret)

    def test_one_too_short_to_mask_is_refused(self) -> None:
        """Fewer than eight characters, blanks not counted, and the message does not hold them."""
        for value in ("hunter2", "a b c d e f", ""):
            with pytest.raises(TokenError, match="fewer than 8") as caught:
                Secret(value, "a test")
            assert not value or value not in str(caught.value)


class TestNamed:
    """secret:NAME."""

    def test_the_places_in_their_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Token file, environment, Colab's secrets, prompt; each counts only when those before it have none."""
        asked = fakes.colab_secrets(monkeypatch, {"DATA_LINK": "from-colab-itself"})
        settings = Settings(ask=lambda _: "from-the-prompt")
        path = write({"secrets": {"DATA_LINK": "from-the-token-file"}})
        monkeypatch.setenv("COLAB_MAGICS_SECRET_DATA_LINK", "from-the-environment")
        monkeypatch.setenv("DATA_LINK", "from-the-plain-variable")
        assert found("secret:DATA_LINK", settings) == ("from-the-token-file", "~/.config/colab_magics/tokens.json")
        path.unlink()
        assert found("DATA_LINK", settings)[0] == "from-the-environment"
        monkeypatch.setenv("COLAB_MAGICS_SECRET_DATA_LINK", " ")
        assert found("DATA_LINK", settings)[0] == "from-the-plain-variable"
        monkeypatch.delenv("DATA_LINK")
        assert asked == []
        assert found("DATA_LINK", settings) == ("from-colab-itself", "Colab's secret DATA_LINK")
        assert found("OTHER_NAME", settings) == ("from-the-prompt", "the prompt")

    def test_kaggle_is_asked_on_kaggle_though_it_runs_colabs_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its client answers; an unknown label is one more place without it."""
        asked = fakes.kaggle_secrets(monkeypatch, {"WANDB_API_KEY": VALUE})
        assert found("WANDB_API_KEY") == (VALUE, "Kaggle's secret WANDB_API_KEY")
        with pytest.raises(TokenError, match="NOTHING was not found"):
            named("NOTHING", Settings())
        assert asked == ["WANDB_API_KEY", "NOTHING"]

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (fakes.SecretNotFoundError("no"), "DATA_LINK was not found; put it into ~/.config"),
            ("", "DATA_LINK was not found"),
            ("  \n", "DATA_LINK was not found"),
            (fakes.NotebookAccessError("no"), "switch on its notebook access"),
            (fakes.TimeoutException("no"), "open in a Colab page"),
        ],
    )
    def test_colab_without_it_says_what_to_do(
        self, answer: str | Exception, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each way in which Colab has none is told apart, and the prompt is still asked when somebody is there."""
        fakes.colab_secrets(monkeypatch, {"DATA_LINK": answer})
        with pytest.raises(TokenError, match=message):
            named("DATA_LINK", Settings())
        assert named("DATA_LINK", Settings(ask=lambda _: VALUE)).reveal() == VALUE

    def test_a_prompt_says_where_to_put_it_for_good(self) -> None:
        """Where it was looked for, and for a host the page that makes a token, with what it must allow."""
        asked: list[str] = []
        settings = Settings(ask=lambda prompt: asked.append(prompt) or VALUE)  # type: ignore[func-returns-value]
        named("DATA_LINK", settings)
        why, question = asked.pop().splitlines()
        assert question == "DATA_LINK: "
        assert "was not found; to be asked no more, put it into ~/.config/colab_magics/tokens.json" in why
        for host, page in (
            ("github.com", "https://github.com/settings/personal-access-tokens/new (Contents: Read-only"),
            (
                "gitlab.acme.example",
                "https://gitlab.acme.example/-/user_settings/personal_access_tokens (read_repository)",
            ),
            (
                "bitbucket.org",
                "https://id.atlassian.com/manage-profile/security/api-tokens (read:repository:bitbucket)",
            ),
        ):
            host_token(host, settings, last=True)
            assert f"make one at {page}" in asked.pop()
            assert page in str(missing_token(host, settings))
        host_token("git.example.org", settings, last=True)
        assert "make one" not in asked.pop()

    def test_a_mistyped_name_is_told_the_near_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """That of the token file, or of the environment; its value is not shown."""
        write({"secrets": {"DATASET_LINK": VALUE}})
        monkeypatch.setenv("COLAB_MAGICS_SECRET_WANDB_KEY", OTHER)
        for typed, meant in (("DATSET_LINK", "DATASET_LINK"), ("wandb_kye", "WANDB_KEY")):
            with pytest.raises(TokenError, match=f"{typed} was not found; did you mean secret:{meant}\\?") as caught:
                named(typed, Settings())
            assert VALUE not in str(caught.value)
            assert OTHER not in str(caught.value)
        with pytest.raises(TokenError) as caught:
            named("NOTHING_ALIKE", Settings())
        assert "did you mean" not in str(caught.value)

    def test_a_page_that_does_not_answer_is_asked_once_a_session(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each time-out costs 10 s: the next secret, and a host's token, come from the next source at once."""
        asked = fakes.colab_secrets(monkeypatch, {"A_LINK": fakes.TimeoutException("no"), "B_LINK": VALUE})
        settings = Settings(ask=lambda prompt: f"typed for {prompt.splitlines()[-1]}")
        for name in ("A_LINK", "B_LINK"):
            assert named(name, settings).reveal() == f"typed for {name}:"
        assert for_host("github.com", last=True) is None
        assert asked == ["A_LINK"]
        with pytest.raises(TokenError, match="Colab's secrets did not answer"):
            named("C_LINK", Settings())

    def test_the_recipe_for_a_runtime_without_a_page(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The cell of docs/start/vscode.md puts an uploaded token file where it is found, for its owner alone."""
        page = (Path(__file__).parents[2] / "docs/start/vscode.md").read_text("utf-8")
        cell = textwrap.dedent(page.partition("```python\n")[2].partition("```")[0])
        (tmp_path / "tokens.json").write_text(json.dumps({"secrets": {"A_LINK": VALUE}}))
        asked = fakes.colab_secrets(monkeypatch, {"A_LINK": fakes.TimeoutException("no")})
        exec(cell.replace("/content", str(tmp_path)), {})
        assert named("A_LINK", Settings()).reveal() == VALUE
        assert asked == []
        assert not (tmp_path / "tokens.json").exists()
        assert (Path.home() / ".config/colab_magics/tokens.json").stat().st_mode & 0o777 == 0o600

    def test_a_prompt_that_is_left_empty_is_no_secret(self) -> None:
        """An empty answer, and nobody to ask, end in the same plain message."""
        for settings in (Settings(ask=lambda _: "  "), Settings()):
            with pytest.raises(TokenError, match="COLAB_MAGICS_SECRET_DATA_LINK"):
                named("DATA_LINK", settings)

    def test_the_secret_itself_in_place_of_its_name_is_refused(self) -> None:
        """The message says to revoke it, and it is masked from then on."""
        with pytest.raises(TokenError, match="revoke") as caught:
            named("secret:pa55 word! of mine", Settings())
        assert "pa55" not in str(caught.value)
        assert "pa55" not in masking.redact("it is pa55 word! of mine")


class TestHostToken:
    """The token for a git host."""

    def test_the_places_in_their_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the call names, the token file, GITHUB_TOKEN, GH_TOKEN, Colab's secrets, and at last the prompt."""
        asked = fakes.colab_secrets(monkeypatch, {"GH_TOKEN": "from-colab-itself"})
        monkeypatch.setenv("PATH", str(Path.cwd()))  # no gh, no git
        monkeypatch.setenv("GITHUB_TOKEN", "from-github-token")
        monkeypatch.setenv("GH_TOKEN", "from-gh-token")
        monkeypatch.setenv("COLAB_MAGICS_SECRET_MINE", "named-by-the-call")
        path = write({"access_token": "from-the-token-file", "username": "me"})
        credential = host_token("GitHub.com", Settings(), token="secret:MINE")
        assert credential
        assert (credential.token.reveal(), credential.username) == ("named-by-the-call", "me")
        assert for_host("github.com") == "from-the-token-file"
        path.unlink()
        assert for_host("github.com") == "from-github-token"
        monkeypatch.delenv("GITHUB_TOKEN")
        assert for_host("github.com") == "from-gh-token"
        monkeypatch.delenv("GH_TOKEN")
        monkeypatch.setenv("COLAB_MAGICS_SECRET_GITHUB_TOKEN", "from-the-named-variable")
        assert for_host("github.com") == "from-the-named-variable"
        monkeypatch.delenv("COLAB_MAGICS_SECRET_GITHUB_TOKEN")
        assert asked == []
        assert for_host("github.com") == "from-colab-itself"
        assert asked == ["GITHUB_TOKEN", "GH_TOKEN"]
        fakes.colab_secrets(monkeypatch, {})
        settings = Settings(ask=lambda prompt: f"typed at {prompt.splitlines()[-1]}".replace(" ", "-"))
        assert for_host("github.com", settings) is None
        assert for_host("github.com", settings, last=True) == "typed-at-access-token-for-github.com:-"

    def test_a_token_is_only_for_its_own_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Look-alikes, other ports and other hosts get none, from no source."""
        monkeypatch.setenv("GITHUB_TOKEN", "from-github-token")
        write({"access_token": TOKEN, "git.example.org:8443": {"access_token": OTHER}})
        assert for_host("github.com") == TOKEN
        assert for_host("git.example.org:8443") == OTHER
        for host in ("github.com.evil.example", "evil-github.com", "api.github.com", "github.com:8443", "gitlab.com",
                     "git.example.org", "git.example.org:8444", "sub.git.example.org:8443", ""):  # fmt: skip
            assert for_host(host) is None

    def test_git_keeps_a_credential_and_so_does_the_keyring(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """gh, the keyring and git's own store are asked last, in this order, and only when a host wants a token."""
        subprocess.run(["git", "config", "--global", "credential.helper", "store"], check=True)
        store = Path.home() / ".git-credentials"
        store.write_text("https://me:kept-by-git-itself@git.example.org\nhttps://me:kept-by-git-too@github.com\n")
        assert for_host("git.example.org") is None
        credential = host_token("git.example.org", Settings(), last=True)
        assert credential
        assert (credential.token.reveal(), credential.username) == ("kept-by-git-itself", "me")
        assert for_host("other.example.org", last=True) is None
        stored = type("Stored", (), {"password": "kept-by-the-keyring", "username": "you"})()
        keyring = type(sys)("keyring")
        keyring.get_credential = lambda service, _: stored if service == "https://git.example.org" else None  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "keyring", keyring)
        assert for_host("git.example.org", last=True) == "kept-by-the-keyring"
        gh = tmp_path / "gh"
        gh.write_text('#!/bin/sh\n[ "$1 $2 $3 $4" = "auth token --hostname github.com" ] && echo kept-by-gh-itself\n')
        gh.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        assert for_host("github.com", last=True) == "kept-by-gh-itself"
        assert for_host("git.example.org", last=True) == "kept-by-the-keyring"
        assert "kept-by" not in masking.redact("kept-by-gh-itself kept-by-the-keyring kept-by-git-itself")

    def test_a_token_that_is_not_granted_is_a_hint_and_no_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who needs one is told what to switch on; a public repository needs none. A shut page is asked once."""
        hints: list[str] = []
        fakes.colab_secrets(monkeypatch, {"GITHUB_TOKEN": fakes.NotebookAccessError(), "GH_TOKEN": VALUE})
        assert for_host("github.com", hints=hints) == VALUE
        asked = fakes.colab_secrets(monkeypatch, {"GITHUB_TOKEN": fakes.TimeoutException(), "GH_TOKEN": VALUE})
        assert for_host("github.com", hints=hints) is None
        assert asked == ["GITHUB_TOKEN"]
        assert "notebook access" in hints[0]
        assert hints[1] in str(secrets.missing_token("github.com", Settings(), hints[1:]))

    def test_no_secret_is_looked_up_for_hosts_nobody_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The token file and the environment tell which further hosts can be served; Colab is not asked for them."""
        asked = fakes.colab_secrets(monkeypatch, {"GITLAB_TOKEN": OTHER})
        write({"git.example.org": {"access_token": VALUE}, "other.example.org": {"username": "me"}})
        monkeypatch.setenv("GH_TOKEN", TOKEN)
        assert secrets.token_hosts(Settings()) == ["git.example.org", "github.com"]
        assert asked == []

    def test_a_token_with_a_line_break_never_reaches_git(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """git would read what follows the break as another answer."""
        monkeypatch.setenv("GITHUB_TOKEN", "good-token\nhost=evil.example")
        with pytest.raises(TokenError, match="line break") as caught:
            for_host("github.com")
        assert "good-token" not in str(caught.value)


class TestTokenFile:
    """The JSON file."""

    def test_its_places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The setting, then the home folder, then the drive; a setting alone counts when it is there."""
        drive = tmp_path / "drive"
        write({"secrets": {"N": "value-on-the-drive"}}, drive / "colab_magics" / "tokens.json")
        given = write({"secrets": {"N": "value-in-the-given"}}, tmp_path / "mine.json")
        assert found("N", Settings(drive_root=drive))[0] == "value-on-the-drive"
        write({"secrets": {"N": "value-in-the-home"}})
        assert found("N", Settings(drive_root=drive))[0] == "value-in-the-home"
        assert found("N", Settings(drive_root=drive, token_file=given))[0] == "value-in-the-given"
        on_drive = Settings(drive_root=drive, token_file=Path("drive:colab_magics/tokens.json"))
        assert found("N", on_drive)[0] == "value-on-the-drive"
        monkeypatch.setenv("COLAB_MAGICS_TOKEN_FILE", str(given))
        assert found("N", Settings.load())[0] == "value-in-the-given"
        with pytest.raises(TokenError, match=r"nowhere\.json does not exist; correct --token-file"):
            found("N", Settings(token_file=Path("nowhere.json")))

    def test_its_forms(self) -> None:
        """One for github.com, one an object a host, both at once; hosts in any case, blanks around values, a BOM."""
        write({"access_token": TOKEN, "username": "me"})
        assert (for_host("github.com"), secrets.default_owner(Settings())) == (TOKEN, ("github.com", "me"))
        write({"GitHub.com": {"access_token": f" {TOKEN}\n"}, "https://git.example.org/": {"access_token": OTHER}})
        assert (for_host("github.com"), for_host("git.example.org")) == (TOKEN, OTHER)
        assert secrets.default_owner(Settings()) is None
        write({"username": "me", "gitlab.com": {"access_token": OTHER, "username": "you"}})
        assert secrets.default_owner(Settings()) == ("github.com", "me")
        assert (for_host("github.com"), for_host("gitlab.com")) == (None, OTHER)
        write({"git.example.org": {"access_token": OTHER, "username": "you"}})
        assert secrets.default_owner(Settings()) == ("git.example.org", "you")
        write("\ufeff" + json.dumps({"access_token": TOKEN, "comment": "mine", "number": 3}))
        assert for_host("github.com") == TOKEN
        write({"access_token": "", "secrets": {"N": None, "M": " "}, "gitlab.com": {"access_token": None}})
        assert (for_host("github.com"), for_host("gitlab.com")) == (None, None)
        with pytest.raises(TokenError, match="N was not found"):
            named("N", Settings())

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "is not JSON"),
            (f'{{"access_token": "{TOKEN}"', "is not JSON"),
            (TOKEN, "is not JSON"),
            (f'["{TOKEN}"]', "must hold an object"),
            (f'"{TOKEN}"', "must hold an object"),
            ({"access_token": 12345678}, "text in quotes under access_token"),
            ({"access_token": [TOKEN]}, "text in quotes under access_token"),
            ({"access_token": TOKEN, "username": 7}, "text in quotes under username"),
            ({"access_token": f"{TOKEN} {OTHER}"}, "a space or a line break inside access_token"),
            ({"access_token": "ghp_x"}, "has only 5 characters under access_token"),
            ({"access_token": TOKEN, "username": "a\nb"}, "a space or a line break inside username"),
            ({"gitlab.com": OTHER}, "must have an object for gitlab.com"),
            ({"gitlab.com": {"access_token": {"x": OTHER}}}, "text in quotes under gitlab.com.access_token"),
            ({"secrets": [VALUE]}, 'an object under "secrets"'),
            ({"secrets": {"N": [VALUE]}}, "text in quotes under secrets.N"),
        ],
    )
    def test_a_malformed_one_says_what_is_wrong_and_shows_nothing(self, content: object, message: str) -> None:
        """The message names the file and the place; no value is in it, in its traceback, or in what led to it."""
        write(content)
        with pytest.raises(TokenError, match=re.escape(message)) as caught:
            for_host("github.com")
        assert "~/.config/colab_magics/tokens.json" in str(caught.value)
        error: BaseException | None = caught.value
        while error is not None:
            shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
            assert not [value for value in (TOKEN, OTHER, VALUE) if value in shown]
            assert getattr(error, "doc", None) is None
            error = error.__context__

    def test_a_change_of_it_is_seen(self) -> None:
        """It is read for each question."""
        path = write({"access_token": "the-first-token"})
        assert for_host("github.com") == "the-first-token"
        write({"access_token": "the-other-token"})
        assert for_host("github.com") == "the-other-token"
        path.unlink()
        assert for_host("github.com") is None

    def test_one_that_cannot_be_read_says_so(self) -> None:
        """Not text, and a folder in its place."""
        write("x").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(TokenError, match="not UTF-8"):
            for_host("github.com")
        default_file().unlink()
        default_file().mkdir()
        with pytest.raises(TokenError, match="cannot be read: Is a directory"):
            for_host("github.com")

    def test_all_of_it_is_masked_as_soon_as_it_is_read(self) -> None:
        """A secret that nobody asked for is in the same file, and may be shown by accident."""
        write(
            {
                "access_token": "all-of-it-1",
                "git.x.org": {"access_token": "all-of-it-2"},
                "secrets": {"N": "all-of-it-3"},
            }
        )
        assert for_host("gitlab.com") is None
        assert "all-of-it" not in masking.redact("all-of-it-1 all-of-it-2 all-of-it-3")


@pytest.mark.parametrize("text", [TOKEN, f"acme/lib@{OTHER}", f"--token={TOKEN}", "github_pat_0123456789012345678901"])
def test_a_literal_token_is_refused(text: str) -> None:
    """The message says to revoke it and does not show it."""
    with pytest.raises(TokenError, match="revoke") as caught:
        secrets.refuse_literal(["acme/lib", text])
    assert text not in str(caught.value)
    assert "***" in masking.redact(text)
