"""What an installer's failure means, read from what pip or uv printed. Pure."""

from __future__ import annotations

import platform
import re
import textwrap

from packaging.utils import canonicalize_name

from colab_magics.core.git.specs import canonical
from colab_magics.errors import InstallError

__all__ = ["explain_failure", "other_name", "required_addresses", "told_to_build"]

_NOISE = re.compile(
    r"note: This error originates|^\s*hint: |DEPRECATION|end of output|"
    r"^\s*(?:Using Python \d|Updat(?:ing|ed) \w+://|Resolved \d+ package|Building \S+ @ |Looking in (?:links|indexes):|"
    r"Running command git |[0-9a-f]{40}$)"
)
_NAMES = re.compile(
    r"inconsistent name: expected '(?P<pip>[^']+)', but metadata has '(?P<pip_own>[^']+)'|"
    r"metadata name `(?P<uv_own>[^`]+)` does not match given name `(?P<uv>[^`]+)`"
)
#: What is printed, and what that means; the first one that is found counts.
_MEANINGS = {
    r"requires a different Python: \S+ not in '(?P<pip>[^']+)'|"
    r"does not satisfy Python(?P<uv>[<>=!~][^\s,]*(?:, ?[<>=!~][^\s,]*)*)": (
        "{label} needs Python {missing}, and this is Python {python}; ask for a version or ref of it that runs on this "
        "one, or start a runtime with another"
    ),
    r"does not appear to be a Python project|neither 'setup\.py' nor 'pyproject\.toml' found|"
    r"is not installable|has no subdirectory": (
        "{label} is no Python project at that place: it has no pyproject.toml; when the project lies deeper, give "
        "#subdirectory=DIR"
    ),
    r"401 (?:Client )?Error|HTTP error 401|401 Unauthorized|403 (?:Client Error|Forbidden)": (
        "a package index refused what it was shown, or was shown nothing; put a token for its host into the token "
        "file, and give its address with --extra-index-url or in the requirements file"
    ),
    r"Failed to establish a new connection|NewConnectionError|name resolution|dns error|error sending request|"
    r"client error \(Connect\)": "the package index cannot be reached; check the network and run it again",
    r"No matching distribution found for (?P<name>[^\s(]+)|"
    r"Could not find a version that satisfies the requirement (?P<version>[^\s(]+)|"
    r"Because (?P<absent>\S+) was not found in the (?:package registry|provided package locations)": (
        "{label} needs {missing}, and no index has it for this Python; if it is private, name it too, or give its "
        "address in the package's dependencies; if its index wants a token, put that into the token file"
    ),
    r"ResolutionImpossible|No solution found when resolving|conflicting dependencies|Cannot install ": (
        "{label} asks for versions that exclude each other; relax one of them"
    ),
    r"did not run successfully|subprocess-exited-with-error|metadata-generation-failed|"
    r"Failed (?:to build|building)|build backend returned an error|Getting requirements to build": (
        "the build of {label} failed; mend what its last lines say, and run it again"
    ),
    r"": "{label} could not be installed; mend what the last lines say, and run it again",
}


def other_name(output: str) -> tuple[str, str] | None:
    """Return the name by which a project was called, and its own, when an installer complains that they differ."""
    match = _NAMES.search(output)
    if not match:
        return None
    return canonicalize_name(match["pip"] or match["uv"]), match["pip_own"] or match["uv_own"]


def required_addresses(output: str) -> dict[str, str | None]:
    """Return what other packages require by its address, when that is in the way: the repository, and a ref if any."""
    found: dict[str, str | None] = {}
    for block in re.findall(r"conflicting URLs for package [^\n]*\n((?:\s*- git\+\S+)+)", output):  # uv
        for address, ref in re.findall(r"- (git\+\w+://[^/]+/[^@#\s]+)(?:@([^#\s]+))?", block):
            if not re.fullmatch(r"[0-9a-f]{40}", ref):  # the pinned one is the one that was asked for
                found[canonical(address)] = ref or None
    for address, ref in re.findall(r" depends on .*\(from (git\+\w+://[^/]+/[^@#)]+)(?:@([^#)]+))?", output):
        found[canonical(address)] = ref or None
    return found


def explain_failure(output: str, label: str) -> InstallError:
    """Return the error that an installer's failure means, with the lines that matter of what it printed.

    Parameters
    ----------
    output : str
        What it printed.
    label : str
        What messages call the installation.
    """
    text = re.sub(r"\n[ \t│|]*", " ", output)  # uv wraps its sentences
    found = ((re.search(pattern, text, re.IGNORECASE), message) for pattern, message in _MEANINGS.items())
    match, message = next((match, message) for match, message in found if match)
    missing = next(filter(None, match.groups()), "")
    told = message.format(label=label, missing=missing, python=platform.python_version())
    return InstallError(f"{told}:\n{told_to_build(output)}")


def told_to_build(output: str, *, lines: int = 15) -> str:
    """Return what matters of a failed build's output: its own last lines, not what the installer says around them.

    Parameters
    ----------
    output : str
        What the installer printed.
    lines : int, optional
        How many to keep.

    Returns
    -------
    str
        The lines, indented for a message.
    """
    quoted = re.search(r"╰─>[^\n]*\n(?P<own>.*?)\n[^\n]*\[end of output\]", output, re.DOTALL)
    text = quoted["own"] if quoted else output
    kept = [line for line in text.splitlines() if line.strip(" │|") and not _NOISE.search(line)][-lines:]
    return textwrap.indent(textwrap.dedent("\n".join(kept)), "    ")
