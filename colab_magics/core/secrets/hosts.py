"""What is known of git hosts: the user name that goes with a token, and how each one writes an address. Pure.

Sources: each host's own page on git over https, and for Gitea `services/auth/basic.go` of go-gitea/gitea.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from colab_magics.core.common.addresses import is_loopback
from colab_magics.masking.patterns.token_prefixes import USERNAMES

__all__ = [
    "HOSTS",
    "VARIABLES",
    "Host",
    "api_of",
    "azure_prefixes",
    "azure_projects",
    "host_of",
    "origin",
    "repository_address",
    "ssh_prefixes",
    "takes_token_as_username",
    "usernames",
    "where_to_make",
]


@dataclass(frozen=True)
class Host:
    """A kind of git host.

    Attributes
    ----------
    title : str
        What it is called.
    names : tuple of str
        The public hosts of this kind.
    variables : tuple of str
        Environment variables and notebook secrets that hold the token for the first of `names`.
    username : str
        The user name for tokens whose prefix does not say one.
    is_username : bool
        Whether the token itself stands in the user name's place.
    page, scope : str
        Where a person makes one, below the host unless it is a whole address, and what it must allow.
    """

    title: str
    names: tuple[str, ...]
    variables: tuple[str, ...]
    username: str
    is_username: bool = False
    page: str = ""
    scope: str = ""


HOSTS = (
    Host(
        "GitHub",
        ("github.com",),
        ("GITHUB_TOKEN", "GH_TOKEN"),
        "x-access-token",
        page="/settings/personal-access-tokens/new",
        scope="Contents: Read-only, for the repositories that you choose",
    ),
    Host(
        "GitLab",
        ("gitlab.com",),
        ("GITLAB_TOKEN",),
        "oauth2",
        page="/-/user_settings/personal_access_tokens",
        scope="read_repository",
    ),
    Host(
        "Bitbucket",
        ("bitbucket.org",),
        ("BITBUCKET_TOKEN",),
        "x-token-auth",
        page="https://id.atlassian.com/manage-profile/security/api-tokens",
        scope="read:repository:bitbucket",
    ),
    Host(
        "Azure DevOps",
        ("dev.azure.com",),
        ("AZURE_DEVOPS_EXT_PAT",),
        "pat",
        page="/YOUR-ORGANISATION/_usersSettings/tokens",
        scope="Code: Read",
    ),
    Host(
        "Gitea",
        ("gitea.com", "codeberg.org"),
        (),
        "git",
        page="/user/settings/applications",
        scope="repository: Read",
    ),
    # An index of packages: https://TOKEN:@pypi.fury.io/ACCOUNT/.
    Host("Gemfury", ("pypi.fury.io",), (), "", is_username=True),
)

#: The environment variables and notebook secrets of each public host, in the order they are tried.
VARIABLES: dict[str, tuple[str, ...]] = {kind.names[0]: kind.variables for kind in HOSTS if kind.variables}

_SELF_HOSTED = {"github": "GitHub", "ghe": "GitHub", "gitlab": "GitLab", "bitbucket": "Bitbucket", "gitea": "Gitea"}
# ssh's own, the one that gets through a firewall, and what GitLab's, Gitea's and Bitbucket's own servers often use.
_SSH_PORTS = (22, 443, 2222, 7999)
# ssh has a name of its own where it must get through a firewall on port 443, or always.
_SSH_NAMES = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
    "vs-ssh.visualstudio.com": "dev.azure.com",
}
_PROJECT = r"([^/\s'\"]+/[^/\s'\"]+)"


def host_of(name: str) -> Host | None:
    """Return what is known of a host, from its name; a company's own host is known when its name says so.

    Parameters
    ----------
    name : str
        The host, with its port where it has one.
    """
    name = name.lower().partition(":")[0]
    for kind in HOSTS:
        if name in kind.names:
            return kind
    if name.endswith((".visualstudio.com", ".azure.com")):
        return next(kind for kind in HOSTS if kind.title == "Azure DevOps")
    if name.endswith(".ghe.com"):  # GitHub Enterprise with data residency
        return HOSTS[0]
    title = next((_SELF_HOSTED[label] for label in re.split(r"[.-]", name) if label in _SELF_HOSTED), None)
    return next((kind for kind in HOSTS if kind.title == title), None)


def where_to_make(name: str) -> str:
    """Return the page on which a person makes a token for a host, and what it must allow; empty where unknown."""
    kind = host_of(name)
    if kind is None or not kind.page:
        return ""
    return f"{'' if kind.page.startswith('https:') else f'https://{name}'}{kind.page} ({kind.scope})"


def usernames(name: str, token: str, given: str | None) -> list[str]:
    """List the user names to show with a token, the likeliest first.

    Parameters
    ----------
    name : str
        The host, with its port where it has one.
    token : str
        The token: its first characters often say what it is.
    given : str or None
        The user name in the token file. It is often that of the repositories' owner, not of the token.

    Returns
    -------
    list of str
        Never empty. All but the first are for a host that refuses the ones before.
    """
    fixed = next((username for prefix, username in USERNAMES.items() if token.startswith(prefix)), None)
    kind = host_of(name)
    if fixed:
        found = [fixed, given]
    elif kind:
        found = [given, kind.username]
    else:
        found = [given, "x-access-token", "oauth2", "x-token-auth"]
    return list(dict.fromkeys(username for username in found if username)) or ["x-access-token"]


def takes_token_as_username(name: str) -> bool:
    """Tell whether a host wants to see the token where a user name is."""
    kind = host_of(name)
    return kind is not None and kind.is_username


def api_of(name: str) -> tuple[str, str] | None:
    """Return the host and the path of the API that takes a host's tokens; None for a host that is not GitHub's kind.

    Parameters
    ----------
    name : str
        The host, with its port where it has one.
    """
    kind = host_of(name)
    if kind is None or kind.title != "GitHub":
        return None
    if name == "github.com" or name.endswith(".ghe.com"):
        return f"api.{name}", "/"
    return name, "/api/v3/"  # GitHub Enterprise Server


def ssh_prefixes(name: str) -> list[str]:
    """List what addresses of a host begin with when they are for ssh, or for git's own protocol.

    Parameters
    ----------
    name : str
        The host, with its port where it has one: then that of https, and how ssh would write it is not known.
    """
    found = [f"ssh://git@{name}/", f"ssh://{name}/"]
    if ":" in name:
        return found
    found += [f"git://{name}/"]
    for known in [name, *(alias for alias, host in _SSH_NAMES.items() if host == name != "dev.azure.com")]:
        found += [f"git@{known}:", *(f"ssh://git@{known}:{port}/" for port in _SSH_PORTS)]
    return found


def azure_prefixes(project: str) -> list[tuple[str, str]]:
    """List what stands in https for what ssh addresses of an Azure DevOps project (``ORG/PROJECT``) begin with.

    The repository's name comes after ``_git/`` there, so no rule can be made for all projects at once.
    """
    organisation = project.partition("/")[0]
    starts = [f"git@ssh.dev.azure.com:v3/{project}/", f"{organisation}@vs-ssh.visualstudio.com:v3/{project}/"]
    starts += [f"ssh://git@ssh.dev.azure.com{port}/v3/{project}/" for port in ("", ":22")]
    return [(f"https://dev.azure.com/{project}/_git/", start) for start in starts]


def azure_projects(text: str) -> set[str]:
    """Find the Azure DevOps projects (``ORG/PROJECT``) whose repositories a text names."""
    found = re.findall(rf"(?:ssh\.dev\.azure|vs-ssh\.visualstudio)\.com(?::\d+)?[:/]v3/{_PROJECT}/", text)
    return {*found, *re.findall(rf"\bdev\.azure\.com/{_PROJECT}/_git/", text)}


def origin(host: str) -> str:
    """Return what the addresses of a host begin with: https, but for this machine."""
    return f"{'http' if is_loopback(host) else 'https'}://{host}"


def repository_address(host: str, path: str, *, ssh: bool = False) -> tuple[str, str]:
    """Return the host and path under which a repository is reached over https.

    Parameters
    ----------
    host, path : str
        As an address has them.
    ssh : bool, optional
        Whether it is an ssh address: its host may have another name, and its port is not that of https, but on this
        machine, where it says which server is meant.

    Returns
    -------
    (str, str)
    """
    if not ssh:
        return host, path
    if not is_loopback(host):
        host = host.partition(":")[0]
    host = _SSH_NAMES.get(host.lower(), host)
    # Azure DevOps: v3/ORG/PROJECT/REPO over ssh is ORG/PROJECT/_git/REPO over https.
    if host == "dev.azure.com" and (azure := re.fullmatch(r"v3/([^/]+)/([^/]+)/(.+)", path)):
        return host, f"{azure[1]}/{azure[2]}/_git/{azure[3]}"
    return host, path
