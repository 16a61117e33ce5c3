"""A private installation shows its token to nobody, however it ends."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from installing import INSTALLERS

from colab_magics.sandbox.leaks import OUTCOMES, check_leaks
from colab_magics.sandbox.watch import Watch, find_secret


@pytest.mark.parametrize("installer", INSTALLERS)
def test_a_token_is_nowhere_however_an_installation_ends(installer: str) -> None:
    """Not in arguments, environments, output, home, caches, temporary folders or the virtual environment.

    On success, with a wrong token, a failing build and an interrupt; with builds that write down all that they see.
    """
    assert dict(check_leaks(installer)) == {outcome: [] for outcome in OUTCOMES}


def test_ctrl_c_may_be_ignored_by_whoever_starts_it() -> None:
    """As ``nohup`` and scripts do for what they start in the background: it ends all the same."""
    code = "from colab_magics.sandbox import leaks; leaks.OUTCOMES = ('interrupt',); print(*leaks.check_leaks('pip'))"
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == "('interrupt', [])\n", done.stderr


def test_what_is_there_is_found(tmp_path: Path) -> None:
    """The watch and the search see a secret in an argument, an environment, a file, a wheel, and in other forms."""
    secret = "a-secret-0123456789-abcdef"
    ready = "import os\nos.write(1, b'x')\nos.read(0, 1)"
    for arguments, environ, where in (([secret], {}, "arguments"), ([], {"X": f"Bearer {secret}"}, "environment")):
        command = [sys.executable, "-c", ready, *arguments]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env={**os.environ, **environ}, stdin=pipe, stdout=pipe) as child:
            assert child.stdin
            assert child.stdout
            child.stdout.read(1)
            with Watch(secret) as watch:
                while not watch.found and child.poll() is None:
                    pass
            child.stdin.write(b"x")
        assert f"the {where} of process {child.pid}" in watch.found
    (tmp_path / "plain").write_text(f"x{secret}x")
    (tmp_path / "basic").write_bytes(base64.b64encode(f"user:{secret}".encode()))
    (tmp_path / "harmless").write_text("a-secret")
    with zipfile.ZipFile(tmp_path / "a.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("deep/file", f"{secret}\n" * 100)
    found = find_secret(secret, tmp_path)
    assert found == [str(tmp_path / name) for name in ("a.whl", "basic", "plain")]
    assert find_secret(secret, tmp_path / "plain", but=[tmp_path / "plain"]) == []
