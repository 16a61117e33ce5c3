"""What git hosts say when they refuse."""

from __future__ import annotations

import pytest

from colab_magics.core.git.errors import read_refusal

GITHUB = "https://github.com/acme/lib.git"


@pytest.mark.parametrize(
    ("said", "kind", "host", "path"),
    [
        # GitHub
        (
            (
                "remote: Invalid username or token. Password authentication is not supported for Git operations.\n"
                f"fatal: Authentication failed for '{GITHUB}/'"
            ),
            "refused", "github.com", "acme/lib",
        ),
        (
            f"remote: Repository not found.\nfatal: repository '{GITHUB}/' not found",
            "not found", "github.com", "acme/lib",
        ),
        (
            (
                "remote: The 'acme' organization has enabled or enforced SAML SSO.\n"
                f"fatal: unable to access '{GITHUB}/': The requested URL returned error: 403"
            ),
            "forbidden", "github.com", "acme/lib",
        ),
        # GitLab
        (
            (
                "remote: HTTP Basic: Access denied. The provided password or token is incorrect\n"
                "fatal: Authentication failed for 'https://gitlab.com/group/sub/lib.git/'"
            ),
            "refused", "gitlab.com", "group/sub/lib",
        ),
        (
            (
                "remote: The project you were looking for could not be found or you don't have permission to view it.\n"
                "fatal: repository 'https://gitlab.com/group/sub/lib.git/' not found"
            ),
            "not found", "gitlab.com", "group/sub/lib",
        ),
        # Azure DevOps
        (
            (
                "remote: TF401019: The Git repository with name or identifier lib does not exist or you do not have "
                "permissions\nfatal: repository 'https://dev.azure.com/o/p/_git/lib/' not found"
            ),
            "not found", "dev.azure.com", "o/p/_git/lib",
        ),
        # Nobody had a token to show.
        (
            "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
            "needs token", "github.com", "",
        ),
        (
            "fatal: could not read Password for 'https://me@git.example.org:8443': No such device or address",
            "needs token", "git.example.org:8443", "",
        ),
        # The way there, and the host itself
        (
            f"fatal: unable to access '{GITHUB}/': Could not resolve host: github.com",
            "no network", "github.com", "acme/lib",
        ),
        (
            (
                "fatal: unable to access 'http://127.0.0.1:9/a/b.git/': Failed to connect to 127.0.0.1 port 9 "
                "after 0 ms: Couldn't connect to server"
            ),
            "no network", "127.0.0.1:9", "a/b",
        ),
        (
            f"fatal: unable to access '{GITHUB}/': SSL certificate problem: unable to get local issuer certificate",
            "no network", "github.com", "acme/lib",
        ),
        (
            f"fatal: unable to access '{GITHUB}/': The requested URL returned error: 503",
            "server", "github.com", "acme/lib",
        ),
        # Git LFS
        (
            (
                "Error downloading object: data.bin (aceb): Smudge error: [404] Object does not exist on the server\n"
                "fatal: data.bin: smudge filter lfs failed"
            ),
            "large", "", "",
        ),
        ("batch response: This repository is over its data quota.\nfailed to fetch some objects", "large", "", ""),
        # ssh
        ("git@github.com: Permission denied (publickey).\nfatal: Could not read from remote", "ssh", "github.com", ""),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "ssh", "", ""),
        # Refs
        ("fatal: remote error: upload-pack: not our ref 0123456789012345678901234567890123456789", "no ref", "", ""),
        ("error: pathspec 'abc1234' did not match any file(s) known to git", "no ref", "", ""),
        ("fatal: couldn't find remote ref refs/pull/9/head", "no ref", "", ""),
    ],
)  # fmt: skip
def test_a_refusal_is_understood(said: str, kind: str, host: str, path: str) -> None:
    """Who refused what, and in which of the known ways; also inside the frame that an installer draws around it."""
    for output in (said, "Collecting x\n" + said.replace("\n", "\n      ") + "\nerror: subprocess-exited-with-error\n"):
        refusal = read_refusal(output)
        assert refusal
        assert (refusal.kind, refusal.host, refusal.path) == (kind, host, path)
        assert not refusal.line.startswith("fatal:")


def test_what_a_build_prints_is_no_refusal() -> None:
    """Words that git uses too, in the output of a build, are not taken for git's."""
    for said in (
        "ConnectionRefusedError: connection refused",
        "PermissionError: permission denied: 'x'",
        "HTTP error: 403 forbidden",
        "file not found: data.csv",
        "error: 404",
    ):
        assert read_refusal(said) is None
