"""A whole set-up: the classic shell recipe against one %%bootstrap block, on the same loopback services.

    python benchmarks/bootstrap.py [--files 20000] [--rounds 5] [--installer auto|uv|pip] [--work DIR] [--steps]

Both sides fetch a dataset and a project, link them, install 20 small wheels from a requirements file and two private
repositories, into a fresh folder and a fresh virtual environment, with empty caches. Printed are medians of seconds and
the ratio of ours to the recipe's: fresh, with nothing to do, and after one project file changed. Ours is measured
twice: as the command, which starts an interpreter and imports the package each time, and as a cell, in an interpreter
that is up (its first run imports). The lower bound is the longest single step, which nothing side by side can shorten.
The work lies in memory (/dev/shm) where there is such a folder, since a disk's moods are larger than the differences.
With --steps the command's last runs are shown line by line.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from pathlib import Path

from colab_magics import core, sandbox
from colab_magics.core.http.links import fetch_address, parse

WHEELS = 20

RECIPE = """\
set -e
wget -q -nc -O dataset.zip "$DATASET" || true
unzip -q -n dataset.zip -d dataset -x / || true
wget -q -O proj.zip "$PROJECT"
unzip -q -o proj.zip -d proj -x / || true
mkdir -p proj/data
ln -fsn "$PWD/dataset" proj/data/input
"$PY" -m pip install -q --no-index --find-links "$WHEELS" -r proj/requirements.txt
"$PY" -m pip install -q "git+http://user:$TOKEN@$HOST/acme/first" "git+http://user:$TOKEN@$HOST/acme/second"
"""

BLOCK = """\
dropbox_sync $DATASET dataset --once
dropbox_sync $PROJECT proj
symlink dataset proj/data/input
pip install --no-index --find-links $WHEELS -r proj/requirements.txt
private_pip $HOST/acme/first $HOST/acme/second
"""


def wheel(folder: Path, name: str) -> None:
    """Write a wheel with one module."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": f"name = {name!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


CELL = """\
import sys, time
from colab_magics import core
block = open("setup.txt").read()
for _ in sys.stdin:
    began = time.perf_counter()
    result = core.bootstrap(block)
    print(time.perf_counter() - began, max(step.seconds for step in result.steps), flush=True)
"""


class Side:
    """One way of doing the job, in a folder and an environment of its own.

    Parameters
    ----------
    base : Path
        Its folder.
    env : dict of str to str
        What it is told.
    kind : {'recipe', 'command', 'cell'}
        The shell recipe, our command line, or a running interpreter, as a notebook's kernel is one.
    """

    def __init__(self, base: Path, env: dict[str, str], kind: str) -> None:
        self.folder = base / "work"
        self.folder.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(base / "venv")], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        outer = [sysconfig.get_path("purelib"), str(Path(sandbox.__file__).parents[2])]
        (base / "venv" / "lib" / version / "site-packages" / "outer.pth").write_text("\n".join(outer) + "\n")
        python = str(base / "venv" / "bin" / "python")
        self.env = {**env, "PY": python, "HOME": str(base / "home")}
        (base / "home").mkdir()
        (self.folder / "setup.sh").write_text(RECIPE)
        (self.folder / "setup.txt").write_text(BLOCK)
        commands = {"recipe": ["bash", "setup.sh"], "command": [python, "-m", "colab_magics", "run", "setup.txt"]}
        self.command = commands.get(kind, [python, "-c", CELL])
        self.longest, self.told = 0.0, ""
        self.kernel = self._start(subprocess.PIPE, subprocess.PIPE) if kind == "cell" else None

    def run(self) -> float:
        """Return the seconds of one run."""
        if self.kernel:
            assert self.kernel.stdin
            assert self.kernel.stdout
            self.kernel.stdin.write("\n")
            self.kernel.stdin.flush()
            seconds, self.longest = map(float, self.kernel.stdout.readline().split())
            return seconds
        began = time.perf_counter()
        child = self._start(subprocess.DEVNULL, subprocess.PIPE)
        self.told, _ = child.communicate()
        seconds = time.perf_counter() - began
        if child.returncode:
            sys.exit(f"{self.command} failed:\n{self.told}")
        return seconds

    def close(self) -> None:
        """End a running interpreter."""
        if self.kernel:
            self.kernel.communicate()

    def _start(self, source: int, sink: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command, cwd=self.folder, env=self.env, stdin=source, stdout=sink, stderr=subprocess.STDOUT, text=True
        )


def main() -> None:  # noqa: C901 - one round after another, from top to bottom
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--installer", default="auto", choices=("auto", "uv", "pip"))
    options.add_argument("--work", type=Path, default=Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    options.add_argument("--steps", action="store_true")
    args = options.parse_args()

    times: dict[str, dict[str, list[float]]] = {kind: {} for kind in ("recipe", "command", "cell")}
    bounds: dict[str, list[float]] = {}
    with sandbox.start() as box, tempfile.TemporaryDirectory(dir=args.work) as temporary:
        base = Path(temporary)
        random.seed(1)
        dataset = box.folder("dataset")
        for number in range(args.files):
            folder = dataset / f"{number // 500:03}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.bin").write_bytes(random.randbytes(2_000))
        project = box.folder("project")
        for number in range(200):
            (project / f"module_{number}.py").write_text(f"x = {number}\n" * 50)
        (base / "wheels").mkdir()
        names = [f"bench_wheel_{number}" for number in range(WHEELS)]
        for name in names:
            wheel(base / "wheels", name)
        (project / "requirements.txt").write_text("\n".join(names) + "\n")
        for name in ("first", "second"):
            box.private_repo(f"acme/{name}", code="x = 1\n")
        links = {"DATASET": box.folder_link("dataset", method="stored"), "PROJECT": box.folder_link("project")}
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
        env |= {"WHEELS": str(base / "wheels"), "HOST": box.git_host, "TOKEN": box.token}
        env |= {
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_CACHE_DIR": str(base / "uv"),
            "PIP_CACHE_DIR": str(base / "pip"),
        }
        # An installed package is compiled; a checkout may not be, and neither side is to pay for that.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        env["PYTHONPYCACHEPREFIX"] = str(base / "compiled")
        direct = {name: fetch_address(parse(link), box.dropbox_url) for name, link in links.items()}

        env["COLAB_MAGICS_INSTALLER"] = args.installer
        for number in range(-1, args.rounds):
            sides = {
                kind: Side(base / f"{kind}-{number}", {**env, **(direct if kind == "recipe" else links)}, kind)
                for kind in times
            }
            changes = {"fresh": None, "nothing to do": None, "one file changed": f"# changed in round {number}\n"}
            for case, text in changes.items():
                if text is not None:
                    (project / "module_7.py").write_text(text)
                # Taking turns, so that a busy moment of the machine does not fall on one side only.
                for kind, side in sides.items():
                    seconds = side.run()
                    if number >= 0:  # what is compiled in the first round is so for all from then on
                        times[kind].setdefault(case, []).append(seconds)
                if number >= 0:
                    bounds.setdefault(case, []).append(sides["cell"].longest)
                if args.steps and number == args.rounds - 1:
                    print(f"{case}:\n{sides['command'].told}")
            for kind, side in sides.items():
                side.close()
                shutil.rmtree(base / f"{kind}-{number}")

    print(f"{'':<18}{'recipe':>9}{'command':>10}{'ratio':>7}{'cell':>10}{'ratio':>7}{'longest step':>14}")
    for case in bounds:
        recipe, command, cell = (statistics.median(times[kind][case]) for kind in times)
        ours = f"{command:>9.2f}s{command / recipe:>7.2f}{cell:>9.2f}s{cell / recipe:>7.2f}"
        print(f"{case:<18}{recipe:>8.2f}s{ours}{statistics.median(bounds[case]):>13.2f}s")
    print(f"installer: {args.installer}; {args.files} dataset files; medians of {args.rounds}; {core.detect()}")


if __name__ == "__main__":
    main()
