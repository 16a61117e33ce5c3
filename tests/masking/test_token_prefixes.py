"""masking/patterns/token_prefixes.py: what a token begins with, and what only looks like one."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from colab_magics.core.secrets import hosts
from colab_magics.masking import looks_like_token, registry
from colab_magics.masking.patterns.token_prefixes import PREFIXES, USERNAMES, find_tokens

HEX = "0123456789abcdef"
WORD = "aB3dE5gH7jK9mN2pQ4rS6tU8vW"
# Made up, each with the length and the alphabet of a real one.
TOKENS = [
    "ghp_" + WORD + "0123456789", "gho_" + "a1B2" * 9, "github_pat_" + "a1B2_c" * 13, "glpat-" + "a1B2-" * 4,
    "gldt-" + "a1B2c" * 4, "glrt-t3_" + "a1B2c" * 6, "glptt-" + HEX * 2 + HEX[:8], "glcbt-64_" + "a1B2c" * 4,
    "glsoat-" + "a1B2c" * 4, "gloas-" + "a1B2" * 16, "glft-" + "a1B2c" * 4, "glagent-" + "a1B2c" * 10,
    "ATATT3" + "x1-_" * 40 + "=1A2B", "ATCTT3" + "x1-_" * 40, "ATBB" + WORD + "xY", "hf_" + "aBcD" * 8 + "eF",
    "api_org_" + "aBcD" * 8 + "eF", "sk-" + "aB3" * 16, "sk-ant-api03-" + "aB3-" * 23 + "xAA",
    "sk-proj-" + "aB3_" * 30, "gsk_" + "aB3d" * 13, "r8_" + "aB3d" * 9 + "x", "dapi" + HEX * 2,
    "AKIAQWERTYUIOP234567", "ASIAQWERTYUIOP234567", "AIza" + "aB3-_" * 7, "ya29." + "aB3-_" * 30,
    "GOCSPX-" + "aB3-" * 7, "sl." + "aB3-_" * 26, "npm_" + "aB3d" * 9, "dckr_pat_" + "aB3" * 9,
    "xoxb-1234567890-1234567890123-" + "aB3d" * 6, "pypi-AgEIcHlwaS5vcmc" + "aB3-" * 30,
]  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_found_in_code(token: str) -> None:
    """A literal with a known prefix and a real length is found, whole, wherever it stands in a cell."""
    for source in (token, f"x = '{token}'", f"!git clone https://u:{token}@github.com/a/b", f"a\n{token}\nb"):
        assert looks_like_token(source) == token


def test_a_key_without_a_prefix_is_found_beside_its_name() -> None:
    """Weights & Biases' and Kaggle's are hexadecimal digits and no more: alone they may be any digest."""
    key = HEX * 2 + HEX[:8]
    for source in (f"%env WANDB_API_KEY={key}", f'os.environ["WANDB_API_KEY"] = "{key}"', f"wandb.login(key='{key}')"):
        assert looks_like_token(source) == key
    assert looks_like_token(f"KAGGLE_KEY: {HEX * 2}") == HEX * 2
    assert looks_like_token(key) is looks_like_token(f"commit {key}") is looks_like_token(f"md5 {HEX * 2}") is None


@pytest.mark.parametrize(
    "prose",
    [
        "", "a GitHub token starts with ghp_", "if token.startswith('ghp_'): ...", "ghp_xxx", "github_pat_...",
        "ghp_your_token_goes_here_and_nowhere_else", "re.compile(r'ghp_[A-Za-z0-9]{36}')", "glpat-<token>",
        "my_ghp_" + "a", "hf_hub_download(repo_id='a/b')", "hf_transfer", "xghp_" + "a" * 36,
        "pip install sk-learn-contrib-a-name-that-goes-on-and-on-for-a-while-and-longer", "risk-" + "a" * 40,
        "dapi.example.org", "sl.append", "AKIAEXAMPLE", "task-" + "aB3" * 16, "npm_config_registry", "SG.send(message)",
    ],
)  # fmt: skip
def test_prose_about_tokens_is_none(prose: str) -> None:
    """A text that only mentions a prefix, or has one inside a word, is not taken for a token."""
    assert looks_like_token(prose) is None


def test_ordinary_text_has_no_token() -> None:
    """None in Python's own library: code, prose, addresses, digests, tables."""
    found = {
        path.name: tokens
        for path in Path(sysconfig.get_path("stdlib")).glob("*.py")
        if (tokens := find_tokens(path.read_text("utf-8", "replace")))
    }
    assert found == {}


def test_a_cut_off_token_is_masked_by_its_longest_prefix(impatient: None) -> None:
    """What all keys of a kind begin with shows nothing; the first characters of a known one behind that do."""
    registry.register(TOKENS[18])
    assert TOKENS[18].startswith("sk-ant-")
    assert registry.redact("a key begins with sk-ant-api03-, as all do") == "a key begins with sk-ant-api03-, as all do"
    assert "sk-ant-api03-aB3" not in registry.redact(f"cut short: {TOKENS[18][:24]}")


def test_each_prefix_stands_once_and_git_hosts_have_a_user_name() -> None:
    """There is one list, and what a git host is shown is looked up in it."""
    assert len(set(PREFIXES)) == len(PREFIXES) >= 60
    assert hosts.usernames("github.com", TOKENS[0], "me") == ["x-access-token", "me"]
    assert hosts.usernames("gitlab.com", "glcbt-" + "a" * 20, None) == ["gitlab-ci-token"]
    assert hosts.usernames("gitlab.com", "gldt-" + "a" * 20, "robot") == ["robot", "oauth2"]
    assert set(USERNAMES) <= set(PREFIXES)
