"""What hosts and services put in front of a token's random part: the one list of this project (pure).

The mask knows a cut-off token by it, a cell is looked through for it, and git is shown the user name that goes with it.
Lengths and alphabets are those of each host's documentation and of the rules of the gitleaks project.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

__all__ = ["PERSONAL", "PREFIXES", "USERNAMES", "find_tokens"]


class _Kind(NamedTuple):
    prefixes: str
    characters: str  # that follow, as the set of a regular expression
    least: int  # how many: below the real length, far above what follows a prefix in a sentence
    username: str | None = None  # what git shows with it; empty: one of its own, which only its owner knows


_KINDS = (
    # Git hosts. A deploy token of GitLab's has a user name of its own; Atlassian's are for an account or a repository.
    _Kind("ghp_ gho_ ghu_ ghs_ ghr_", "A-Za-z0-9", 20, "x-access-token"),
    _Kind("github_pat_", "A-Za-z0-9_", 22, "x-access-token"),
    _Kind("glpat- glrt-", r"\w.-", 20, "oauth2"),
    _Kind("glcbt-", r"\w-", 20, "gitlab-ci-token"),
    _Kind("gldt-", r"\w.-", 20, ""),
    _Kind("glptt- glsoat- gloas- glft- glagent- glffct- glimt-", r"\w-", 20),
    _Kind("ATCTT3", r"\w=-", 20, "x-token-auth"),
    _Kind("ATATT3", r"\w=-", 20, "x-bitbucket-api-token-auth"),
    _Kind("ATBB", "A-Za-z0-9", 28),
    # Models and data.
    _Kind("hf_ api_org_", "A-Za-z0-9", 30),
    _Kind("sk-", "A-Za-z0-9", 32),
    _Kind("sk-ant- sk-ant-api03- sk-ant-admin01- sk-proj- sk-svcacct- sk-admin- sk-or-v1-", r"\w-", 40),
    _Kind("gsk_ pplx-", "A-Za-z0-9", 40),
    _Kind("r8_", "A-Za-z0-9", 37),
    _Kind("dapi KGAT_", "a-f0-9", 32),
    _Kind("wandb_v1_", r"\w", 60),
    # Clouds and storage.
    _Kind("AKIA ASIA", "A-Z2-7", 16),
    _Kind("AIza", r"\w-", 35),
    _Kind("ya29.", r"\w-", 40),
    _Kind("GOCSPX-", r"\w-", 28),
    _Kind("sl.", r"\w-", 100),
    _Kind("dop_v1_ doo_v1_ dor_v1_", "a-f0-9", 64),
    _Kind("hvs.", r"\w-", 90),
    # Registries, and what else a notebook talks to.
    _Kind("npm_", "A-Za-z0-9", 36),
    _Kind("pypi-AgE", r"\w-", 50),
    _Kind("rubygems_", "a-f0-9", 48),
    _Kind("dckr_pat_", r"\w-", 27),
    _Kind("xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs-", "A-Za-z0-9-", 24),
    _Kind("glsa_", r"\w", 40),
    _Kind("lin_api_", "A-Za-z0-9", 40),
    _Kind("ntn_", "A-Za-z0-9", 46),
    _Kind("pul-", "a-f0-9", 40),
    _Kind("SG.", r"\w.-", 66),
    _Kind("sk_live_ sk_test_ rk_live_ rk_test_", "A-Za-z0-9", 24),
)

#: Every prefix, those first that begin with another one.
PREFIXES = tuple(sorted((prefix for kind in _KINDS for prefix in kind.prefixes.split()), key=len, reverse=True))
#: The user name that git shows with a token of this prefix; an empty one stands for the token's own.
USERNAMES = {prefix: kind.username for kind in _KINDS for prefix in kind.prefixes.split() if kind.username is not None}

#: Those of people's tokens at GitHub, which expire.
PERSONAL = ("ghp_", "github_pat_")


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    kinds = (f"(?:{'|'.join(map(re.escape, k.prefixes.split()))})[{k.characters}]{{{k.least},}}" for k in _KINDS)
    # Weights & Biases' older keys (40 hexadecimal digits) and Kaggle's (32) have no prefix: they stand beside a name.
    names = r"WANDB_(?:API_)?KEY|wandb[. ]login(?:\(\s*key)?|KAGGLE_KEY|\"username\"\s*:\s*\"[\w-]+\"\s*,\s*\"key\""
    named = rf"(?:{names})\W{{1,8}}((?:[0-9a-f]{{40}}|[0-9a-f]{{32}})(?![0-9a-f]))"
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(kinds)})"), re.compile(named, re.IGNORECASE)


def find_tokens(text: str) -> list[str]:
    """Find all literals with a known prefix, or beside the name of a known service, and of a plausible length.

    Parameters
    ----------
    text : str
        A cell, an argument, anything.

    Returns
    -------
    list of str
        In the order of the text; those without a prefix last.
    """
    return [token for pattern in _patterns() for token in pattern.findall(text)]
