"""The same order, said to pip and to uv."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from colab_magics.core.packages.installers import (
    Order,
    explain_failure,
    other_name,
    pip_command,
    required_addresses,
    uv_command,
)

ORDER = Order(
    targets=("a @ git+https://github.com/x/a@1", "/src/b"),
    editables=("/src/c",),
    files=(Path("r.txt"),),
    constraints=(Path("/limits.txt"),),
    names=("numpy", "pandas"),
    indexes=("--index-url", "https://pypi.example.org/simple"),
)
WHAT = [
    "--index-url", "https://pypi.example.org/simple", "-e", "/src/c", "-r", "r.txt", "-c", "/limits.txt",
    "a @ git+https://github.com/x/a@1", "/src/b",
]  # fmt: skip


def test_both_install_into_this_interpreter() -> None:
    """With nothing that asks, and nothing but what was ordered."""
    assert pip_command(ORDER) == [sys.executable, "-m", "pip", "install", *WHAT]
    command = uv_command("/bin/uv", ORDER)
    assert command[:5] == ["/bin/uv", "pip", "install", "--python", sys.executable]
    assert command[-len(WHAT) :] == WHAT


def test_the_ways_of_installing_are_said_in_each_ones_words() -> None:
    """uv's --upgrade would upgrade every dependency; pip's means what is named."""
    ways = Order(targets=("a",), names=("numpy",), upgrade=True, force=True, no_deps=True)
    assert pip_command(ways)[4:] == ["--upgrade", "--force-reinstall", "--no-deps", "a"]
    words = uv_command("uv", ways)
    assert words[-5:] == ["--upgrade-package", "numpy", "--reinstall", "--no-deps", "a"]
    assert "--upgrade" not in words


@pytest.mark.parametrize(
    "output",
    [
        "Requested My_Repo[x] from git+https://x has inconsistent name: expected 'my-repo', but metadata has 'real'",
        "  cause: Package metadata name `real` does not match given name `my-repo`",
    ],
)
def test_a_projects_own_name_is_learnt(output: str) -> None:
    """From pip's complaint and from uv's."""
    assert other_name(output) == ("my-repo", "real")
    assert other_name("anything else") is None


def test_what_other_packages_require_by_its_address_is_read() -> None:
    """With and without a ref."""
    output = (
        "The conflict is caused by:\n    The user requested b 1.0 (from git+https://github.com/x/b.git@123)\n"
        "    a 1.0 depends on b 1.0 (from git+ssh://git@github.com/x/b)\n"
        "    a 1.0 depends on c 1.0 (from git+https://github.com/x/c.git@feature/y#subdirectory=z)\n"
    )
    assert required_addresses(output) == {"github.com/x/b": None, "github.com/x/c": "feature/y"}


def test_what_another_package_requires_is_read_from_uv() -> None:
    """uv lists both addresses; the one that is not pinned is the other package's."""
    output = (
        "error: Failed to resolve dependencies for package `a==1.0`\n"
        "  cause: Requirements contain conflicting URLs for package `b`:\n"
        f"         - git+https://github.com/x/b.git@{'c' * 40}\n"
        "         - git+ssh://git@github.com/x/b@main\n"
    )
    assert required_addresses(output) == {"github.com/x/b": "main"}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("ERROR: x does not appear to be a Python project: neither 'setup.py' nor", "is no Python project"),
        ("error: The source distribution `git+https://x` has no subdirectory `y`", "is no Python project"),
        ("WARNING: 401 Error, Credentials not correct for https://x/\nERROR: No", "a package index refused"),
        ("Failed to establish a new connection: [Errno -2] Name or service not known", "index cannot be reached"),
        ("ERROR: No matching distribution found for missing-lib>=2", "needs missing-lib>=2, and no index has it"),
        ("ERROR: ResolutionImpossible: for help visit https://pip.pypa.io", "exclude each other"),
        ("error: subprocess-exited-with-error", "the build of acme/x failed"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
         "acme/x could not be installed; mend what the last lines say"),
    ],
)  # fmt: skip
def test_a_failure_is_explained(output: str, message: str) -> None:
    """Each kind in words of its own, with the lines that say why."""
    text = str(explain_failure(output, "acme/x"))
    assert message in text
    assert output.splitlines()[-1] in text
