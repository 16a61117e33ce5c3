"""What the failure of an installer means."""

from __future__ import annotations

import platform

import pytest

from colab_magics.core.packages.failures import explain_failure, other_name, required_addresses, told_to_build


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
        ("ERROR: Package 'x' requires a different Python: 3.12.1 not in '>=3.14'",
         f"acme/x needs Python >=3.14, and this is Python {platform.python_version()}"),
        ("  \u2570\u2500\u25b6 Because the current Python version (3.12.1) does not\n      satisfy Python>=3.14 and x",
         "acme/x needs Python >=3.14, and this is"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
         "acme/x could not be installed; mend what the last lines say"),
    ],
)  # fmt: skip
def test_a_failure_is_explained(output: str, message: str) -> None:
    """Each kind in words of its own, with the lines that say why."""
    text = str(explain_failure(output, "acme/x"))
    assert message in text
    assert output.splitlines()[-1] in text


def test_the_lines_that_matter_of_a_failed_build() -> None:
    """What the build said itself, without the installer's frame around it; else the last lines."""
    framed = (
        "Collecting x\n  error: subprocess-exited-with-error\n\n"
        "  \N{MULTIPLICATION SIGN} Getting requirements to build wheel did not run successfully.\n  │ exit code: 1\n"
        "  ╰─> [3 lines of output]\n      Traceback (most recent call last):\n"
        '        File "setup.py", line 1\n      RuntimeError: no compiler\n      [end of output]\n\n'
        "  note: This error originates from a subprocess, and is likely not a problem with pip.\n"
    )
    assert told_to_build(framed) == (
        '    Traceback (most recent call last):\n      File "setup.py", line 1\n    RuntimeError: no compiler'
    )
    uv = "Using Python 3.13.1 x\nResolved 1 package\n   Building x @ git+https://x\n  no compiler\n"
    assert told_to_build(uv) == "    no compiler"
    assert told_to_build("a\n\n  b\nc\n", lines=2) == "      b\n    c"
    assert told_to_build("") == ""
