"""What pip's words ask for, and what it is told elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from colab_magics.core.packages.pip_args import PipArguments, configured, parse, parse_line


def test_words_are_sorted_by_what_they_ask_for() -> None:
    """However an option and its value are joined."""
    words = "-q -rone.txt --requirement two.txt -cx --constraint=three.txt -e ./a --editable=b -i https://x --no-deps"
    asked = parse([*words.split(), "--find-links=w", "-Ck=v", "-qqv", "numpy>=1"])
    assert (asked.targets, asked.editables, asked.files) == (["numpy>=1"], ["./a", "b"], ["one.txt", "two.txt"])
    assert (asked.constraints, asked.no_deps, asked.may_decide) == (["x", "three.txt"], True, False)
    assert (asked.options["index-url"], asked.options["find-links"]) == (["https://x"], ["w"])
    assert not asked.is_empty
    assert parse(["-c", "x"]).is_empty


@pytest.mark.parametrize(
    "words",
    [
        "-U x", "--upgrade x", "--force-reinstall x", "-I x", "--target there x", "-t there x", "--prefix=p x",
        "--root r x", "--report r.json x", "--dry-run x", "--python p x", "--src s x", "--log l x", "--no-such x",
        "x -r", "--pre=1 x", "-q1 x", "--require-hashes -r x", "--group dev",
    ],
)  # fmt: skip
def test_what_may_decide_is_not_passed_over(words: str) -> None:
    """Nor what is unknown, lacks its value, or has one that it cannot have."""
    assert parse(words.split()).may_decide


def test_lines_have_options_of_their_own() -> None:
    """A requirement's digests and build options do not count; a path may hold blanks."""
    assert parse_line("six==1 --hash=sha256:aa --hash=sha256:bb") == PipArguments(["six==1"])
    conditional = 'six==1 ; python_version > "3"'
    assert parse_line(f'{conditional} --config-settings="a=b c"') == PipArguments([conditional])
    assert parse_line("-e my folder[x]").editables == ["my folder[x]"]
    assert parse_line("-r more of it.txt").files == parse_line("-rmore of it.txt").files == ["more of it.txt"]
    assert parse_line("--requirement=more of it.txt").files == ["more of it.txt"]
    assert parse_line("--index-url https://x.org/simple --pre").is_empty
    assert parse_line("--upgrade").may_decide
    assert parse_line("--index-url 'x").may_decide


def test_what_is_configured_is_what_pip_says_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the machine, of the person and of the environment, in pip's order; then pip's variables."""
    xdg, home, prefix, named = (tmp_path / name for name in ("xdg", "home", "prefix", "named"))
    texts = {
        xdg / "pip/pip.conf": "[global]\nindex-url = https://xdg/\ntimeout = 1\nfind-links = a\n",
        home / ".pip/pip.conf": "[global]\ntimeout = 2\n[list]\nformat = json\n",
        home / ".config/pip/pip.conf": "[install]\nindex_url = https://user/\n[global]\nconstraint = one\n  two\n",
        prefix / "pip.conf": "[global]\nindex-url = https://prefix/\nno-index = false\npre = yes\n",
        named: "[global]\n--trusted-host = named\ncert =\n",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environ = {"HOME": str(home), "XDG_CONFIG_DIRS": str(xdg), "PATH": "/bin", "PIP_FIND_LINKS": "b c", "PIP_USER": "0"}
    monkeypatch.setattr(sys, "prefix", str(prefix))
    code = (
        "import json, sys; sys.prefix = sys.argv[1]\nfrom pip._internal.commands import create_command\n"
        "values = vars(create_command('install').parser.get_default_values())\n"
        "names = ('index_url', 'timeout', 'find_links', 'constraints', 'pre', 'no_index', 'trusted_hosts', 'cert')\n"
        "print(json.dumps([values[name] for name in names]))"
    )
    for more in ({}, {"PIP_CONFIG_FILE": str(named)}, {"PIP_CONFIG_FILE": "/dev/null"}):
        command = [sys.executable, "-c", code, str(prefix)]
        done = subprocess.run(command, env=environ | more, capture_output=True, text=True, check=True)
        index, timeout, links, constraints, pre, no_index, hosts, cert = json.loads(done.stdout)
        found = configured(environ | more)
        found.pop("extra-index-url", None)  # the machine's own /etc/pip.conf
        assert found.get("index-url", ["https://pypi.org/simple"]) == [index]
        assert found.get("timeout", ["15"]) == [f"{timeout:g}"]
        assert found["find-links"] == links == ["b", "c"]
        assert found.get("constraint", []) == constraints
        assert (found.get("trusted-host", []), "pre" in found, "no-index" in found) == (hosts, pre, no_index)
        assert found.get("cert", [None]) == [cert]
        assert "user" not in found
        assert "format" not in found
