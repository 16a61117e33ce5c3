"""Proves on this machine that a private installation shows its token to nobody: with real git, pip, uv and builds."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from colab_magics.sandbox.box import Sandbox
from colab_magics.sandbox.watch import Watch, find_secret, spying_package

__all__ = ["OUTCOMES", "check_leaks"]

#: The ways in which an installation can end, each of which is tried.
OUTCOMES = ("success", "wrong token", "failing build", "interrupt")


def check_leaks(installer: str = "pip") -> Iterator[tuple[str, list[str]]]:
    """Install a tree of private packages whose builds spy, while every process is watched; then search what is left.

    Looked at are the arguments and environments of all processes, what was printed, and every file in the home
    folder, the caches, the temporary folder and the virtual environment; for the token in every form that the mask
    knows, and for another one that stands in the environment as ``GITHUB_TOKEN``.

    Parameters
    ----------
    installer : {'pip', 'uv'}
        What installs.

    Yields
    ------
    (str, list of str)
        One of `OUTCOMES`, and where a token was found: nowhere, if all is well. What did not end as it should is
        said there too.
    """
    for outcome in OUTCOMES:
        with Sandbox(activate=False) as box, tempfile.TemporaryDirectory(prefix="colab_magics-") as folder:
            yield outcome, _Trial(box, Path(folder).resolve(), installer, outcome).run()


class _Trial:
    def __init__(self, box: Sandbox, folder: Path, installer: str, outcome: str) -> None:
        self.box, self.folder, self.outcome = box, folder, outcome
        self.token = box.token if outcome != "wrong token" else "wrong-" + box.token[::-1]
        self.foreign = f"ghp_{secrets.token_hex(18)}"  # of its own, since all processes of the machine are watched
        # Beside what is searched: these two may hold them.
        self.token_file = folder / "tokens.json"
        self.searched = folder / "searched"
        for name in ("home", "tmp", "work"):
            (self.searched / name).mkdir(parents=True)
        self.token_file.write_text(json.dumps({box.git_host: {"access_token": self.token}}), "utf-8")
        self.token_file.chmod(0o600)
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE") if name in os.environ}
        self.environment = {
            **keep,
            "HOME": str(self.searched / "home"),
            "TMPDIR": str(self.searched / "tmp"),
            "GITHUB_TOKEN": self.foreign,
            "PIP_NO_INDEX": "1",
            "COLAB_MAGICS_TOKEN_FILE": str(self.token_file),
            "COLAB_MAGICS_INSTALLER": installer,
        }
        self.environment["PATH"] += f"{os.pathsep}{Path(sys.executable).parent}"

    def run(self) -> list[str]:
        """Return where a token was found, and what else went wrong."""
        started = self.folder / "started"
        os.mkfifo(started)
        spec = self._tree(self.searched / "spied", started)
        command = [str(self._python()), "-m", "colab_magics", "pip", spec]
        work = self.searched / "work"
        child = subprocess.Popen(
            command, cwd=work, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with Watch(self.token, [child.pid]) as mine, Watch(self.foreign, [child.pid]) as others:
            if self.outcome == "interrupt":
                with started.open("rb") as build:
                    build.read(1)
                child.send_signal(signal.SIGTERM)  # SIGINT may be ignored by whoever started us, and then by it too
            output = child.communicate()[0]
        (self.searched / "output").write_bytes(output)
        problems = [*mine.found, *others.found]
        for token in (self.token, self.foreign):
            problems += find_secret(token, self.searched)
        expected = {"success": 0, "interrupt": 128 + signal.SIGTERM}.get(self.outcome, 1)
        if child.returncode != expected:
            problems.append(f"status {child.returncode}, not {expected}: {output.decode(errors='replace')[-500:]}")
        if self.outcome != "wrong token" and not (self.searched / "spied").exists():
            problems.append("no build ran")
        return list(dict.fromkeys(problems))

    def _tree(self, spied: Path, started: Path) -> str:
        inner = self.box.private_repo("acme/innerlib", spying_package("innerlib", spied))
        files = spying_package("secretlib", spied, requires=[f"innerlib @ git+{inner.ssh_url}"])
        if self.outcome == "failing build":
            files["_build.py"] += "raise RuntimeError('it broke with ' + repr(dict(_os.environ)))\n"
        if self.outcome == "interrupt":
            wait = f"_held = open({str(started)!r}, 'w')\n_held.write('x')\n_held.flush()\n_os.read(_os.pipe()[0], 1)\n"
            files["_build.py"] += wait
        data = self.box.private_repo("acme/data", {"rows": "3"})
        return self.box.private_repo("acme/secretlib", files, submodules={"secretlib/data": data}).spec

    def _python(self) -> Path:
        place = self.searched / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
        [site] = place.glob("lib/python*/site-packages")
        seen = [sysconfig.get_path("purelib"), str(Path(__file__).parents[2])]
        (site / "outer.pth").write_text("\n".join(seen) + "\n", "utf-8")
        return place / "bin" / "python"
