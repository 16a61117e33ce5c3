"""Requirements files and dependencies: what is installed with a package, and what is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Venv
from installing import INSTALLERS, Place, wheelhouse

from colab_magics.sandbox import Sandbox, package
from colab_magics.sandbox.watch import Watch


@pytest.fixture(params=INSTALLERS)
def either(request: pytest.FixtureRequest, venv: Venv, tmp_path: Path) -> Place:
    """A virtual environment, once for pip and once for uv."""
    return Place(venv, tmp_path / "temp", request.param)


def test_a_requirements_file_of_private_and_public_lines(either: Place, box: Sandbox, tmp_path: Path) -> None:
    """Lines over https, ssh and scp's form, nested files, constraints and markers install as one; then nothing is left.

    A line's ``${TOKEN}@`` is not needed and reaches no argument list.
    """
    repos = {name: box.private_repo(f"acme/{name}") for name in ("one", "two", "three", "four", "five")}
    wheels = wheelhouse(
        tmp_path / "wheels", ("publib", "1.0"), ("publib", "2.0"), ("otherpub", "1.0"), ("latepub", "1.0")
    )
    folder = Path("proj")
    folder.mkdir()
    (folder / "requirements.txt").write_text(
        "# what this needs\n"
        f"--find-links ../{os.path.relpath(wheels)}\n"
        f"one @ git+{repos['one'].url}.git@main  # by its branch\n"
        f"git+{repos['two'].ssh_url} \\\n   ; python_version >= '3'\n"
        f"git+{repos['three'].url.replace('://', '://${GITHUB_TOKEN}@')}#egg=three\n"
        f"git+{repos['four'].url} ; python_version < '3'\n"
        "-r more/nested.txt\n"
        "publib\n"
    )
    (folder / "more").mkdir()
    (folder / "more" / "nested.txt").write_text(f"-c limits.txt\ngit+{repos['five'].url}\notherpub>=1\n")
    (folder / "more" / "limits.txt").write_text("publib<2\n")
    code = "install(requirements=['proj/requirements.txt'])\n"
    with Watch("${GITHUB_TOKEN}") as watch:
        ran = either.run(code + "import one, two, three, five, publib, otherpub\n")
    assert not [seen for seen in watch.seen if "${GITHUB_TOKEN}" in seen]
    expected = {"five": "1.0.0", "one": "1.0.0", "otherpub": "1.0", "publib": "1.0", "three": "1.0.0", "two": "1.0.0"}
    assert either.versions() == expected
    assert {entry["name"]: entry["version"] for entry in ran["packages"]} == expected
    with Watch("") as watch:
        again = either.run(code)
    assert again["status"] == "up-to-date"
    assert not [seen for seen in watch.seen if " pip install " in seen and str(either.venv.python) in seen]
    assert [entry["name"] for entry in again["packages"]] == ["one", "two", "three", "five"]

    # What is satisfied is not upgraded, by no ref that moved and by no other line; -U upgrades what is named.
    # What the file says of indexes and versions counts for what a repository requires, too.
    repos["one"].commit(package("one", version="1.1", requires=["latepub"]))
    assert [entry["changed"] for entry in either.run(code)["packages"]] == [True, False, False, False, True]
    expected |= {"latepub": "1.0", "one": "1.1"}
    assert either.versions() == expected
    (folder / "more" / "limits.txt").write_text("")
    either.run("install(requirements=['proj/requirements.txt'], upgrade=True)")
    assert either.versions() == expected | {"publib": "2.0"}


def test_a_line_may_be_developed_in_place(either: Place, box: Sandbox) -> None:
    """pip's ``-e git+...`` lines install with both, beside others; a second run finds nothing to do."""
    one, two = box.private_repo("acme/one"), box.private_repo("acme/two")
    Path("r.txt").write_text(f"-e git+{one.url}#egg=one\ngit+{two.url}\n")
    code = "install(requirements=['r.txt'], src='src')\n"
    ran = either.run(f"{code}import one\nprint(one.__file__)\n{code}")
    assert str(Path.cwd() / "src" / "one" / "one") in ran.output
    assert either.direct_url("one")["dir_info"] == {"editable": True}
    assert either.direct_url("two")["vcs_info"]["commit_id"] == two.head
    assert [answer["status"] for answer in ran.answers] == ["installed", "up-to-date"]
    one.commit({"one/__init__.py": "new = True\n"})
    assert [entry["changed"] for entry in either.run(code)["packages"]] == [True, False]


def test_what_is_satisfied_is_left_alone(either: Place, box: Sandbox, tmp_path: Path) -> None:
    """A dependency that holds is not upgraded with the package, nor by -U; --no-deps installs none."""
    wheels = wheelhouse(tmp_path / "wheels", ("publib", "1.0"), ("publib", "2.0"))
    links = {"PIP_FIND_LINKS": str(wheels), "UV_FIND_LINKS": str(wheels)}
    lib = box.private_repo("acme/secretlib", requires=["publib", "otherpub"])
    either.run(f"install({lib.spec!r}, no_deps=True)", **links)
    assert either.versions() == {"secretlib": "1.0.0"}
    wheelhouse(tmp_path / "wheels", ("otherpub", "1.0"))
    Path("r.txt").write_text("publib==1.0\n")
    either.run(f"install(requirements=['r.txt'])\ninstall({lib.spec!r})\n", **links)
    assert either.versions() == {"secretlib": "1.0.0", "publib": "1.0", "otherpub": "1.0"}
    lib.commit(package("secretlib", requires=["publib>=2"]))
    ran = either.run(f"install({lib.spec!r})", **links)
    assert ran["also"] == ["publib 1.0 -> 2.0"]
    assert "with it came: publib 1.0 -> 2.0" in ran["repr"]
    lib.commit(package("secretlib", requires=["publib"]))
    Path("r.txt").write_text("publib==1.0\n")
    either.run(f"install(requirements=['r.txt'])\ninstall({lib.spec!r})\n", **links)
    lib.commit({"secretlib/new.py": ""})
    ran = either.run(f"install({lib.spec!r}, upgrade=True)\ninstall({lib.spec!r}, upgrade=True)", **links)
    assert [answer["status"] for answer in ran.answers] == ["installed", "up-to-date"]
    assert either.versions() == {"secretlib": "1.0.0", "publib": "1.0", "otherpub": "1.0"}
