"""A whole set-up: the classic shell recipe against one %%bootstrap block, on the same loopback services.

    python benchmarks/bootstrap.py [--files 20000] [--rounds 5]

Both sides fetch a dataset and a project, link them, install 20 small wheels from a requirements file and two private
repositories, into a fresh folder and a fresh virtual environment. Printed are medians of seconds and the ratio of ours
to the recipe's: fresh, with nothing to do, and after one project file changed; and the lower bound, our longest chain.
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
from colab_magics.core.links import fetch_address, parse

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


class Side:
    """One way of doing the job, in a folder and an environment of its own."""

    def __init__(self, base: Path, env: dict[str, str], *, ours: bool, installer: str = "auto") -> None:
        self.folder = base / "work"
        self.folder.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(base / "venv")], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        outer = [sysconfig.get_path("purelib"), str(Path(sandbox.__file__).parents[2])]
        (base / "venv" / "lib" / version / "site-packages" / "outer.pth").write_text("\n".join(outer) + "\n")
        python = str(base / "venv" / "bin" / "python")
        self.env = {**env, "PY": python, "HOME": str(base / "home"), "COLAB_MAGICS_INSTALLER": installer}
        (base / "home").mkdir()
        if ours:
            (self.folder / "setup.txt").write_text(BLOCK)
            self.command = [python, "-m", "colab_magics", "run", "-q", "setup.txt"]
        else:
            (self.folder / "setup.sh").write_text(RECIPE)
            self.command = ["bash", "setup.sh"]

    def run(self) -> float:
        """Return the seconds of one run."""
        began = time.perf_counter()
        subprocess.run(self.command, cwd=self.folder, env=self.env, check=True, capture_output=True)
        return time.perf_counter() - began


def again_in_a_running_interpreter(side: Side) -> float:
    """Return the seconds of a run with nothing to do in an interpreter that has done it before, as in a kernel."""
    code = (
        "import os, sys, time; from colab_magics import core; block = open('setup.txt').read(); core.bootstrap(block);"
        "t = time.perf_counter(); core.bootstrap(block); print(time.perf_counter() - t)"
    )
    done = subprocess.run(
        [side.env["PY"], "-c", code], cwd=side.folder, env=side.env, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--installer", default="auto", choices=("auto", "uv", "pip"))
    args = options.parse_args()

    times: dict[str, dict[str, list[float]]] = {side: {} for side in ("recipe", "ours")}
    kernel: list[float] = []
    with sandbox.start() as box, tempfile.TemporaryDirectory() as temporary:
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
        env = {**os.environ, "WHEELS": str(base / "wheels"), "HOST": box.git_host, "TOKEN": box.token}
        direct = {name: fetch_address(parse(link), box.dropbox_url) for name, link in links.items()}

        for number in range(args.rounds):
            sides = {
                "recipe": Side(base / f"recipe-{number}", {**env, **direct}, ours=False),
                "ours": Side(base / f"ours-{number}", {**env, **links}, ours=True, installer=args.installer),
            }
            for name, side in sides.items():
                times[name].setdefault("fresh", []).append(side.run())
                times[name].setdefault("nothing to do", []).append(side.run())
                (project / "module_7.py").write_text(f"# changed in round {number}\n")
                times[name].setdefault("one file changed", []).append(side.run())
            kernel.append(again_in_a_running_interpreter(sides["ours"]))
            for name in sides:
                shutil.rmtree(base / f"{name}-{number}")

    print(f"{'':<18}{'recipe':>9}{'ours':>9}{'ratio':>8}")
    for case in times["recipe"]:
        recipe, ours = (statistics.median(times[side][case]) for side in ("recipe", "ours"))
        print(f"{case:<18}{recipe:>8.2f}s{ours:>8.2f}s{ours / recipe:>8.2f}")
    print(f"nothing to do, in a running interpreter: {statistics.median(kernel):.3f} s")
    print(f"installer: {args.installer}; {args.files} dataset files; medians of {args.rounds}; {core.detect()}")


if __name__ == "__main__":
    main()
