"""What steps touch, and which wait for which."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ends import ONE_VARIANT
from hypothesis import given, settings
from hypothesis import strategies as st

from colab_magics.core import Settings, read_plan
from colab_magics.core.blocks.effects import Paths, effects_of, waits_of

LINK = "https://www.dropbox.com/scl/fo/abc/h?rlkey=k0123456789abcdef"
FILE = "https://www.dropbox.com/scl/fi/abc/model.bin?rlkey=k0123456789abcdef"


def waits(block: str, *, links: dict[str, str] | None = None, **settings: object) -> list[list[int]]:
    """Return for each line (from 1) the lines that it waits for."""
    steps = read_plan(block.replace("LINK", LINK).replace("FILE", FILE)).steps
    paths = Paths(os.getcwd(), "/drive", (links or {}).get)
    found = waits_of(effects_of(steps, paths, Settings(**settings)))  # type: ignore[arg-type]
    return [[index + 1 for index in before] for before in found]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("dropbox_sync LINK a\ndropbox_sync LINK b", [[], []]),
        ("dropbox_sync LINK a\ndropbox_sync LINK a", [[], [1]]),
        ("dropbox_sync LINK a\ndropbox_sync LINK a/b", [[], [1]]),
        ("dropbox_sync LINK a/b\ndropbox_sync LINK a", [[], [1]]),
        ("dropbox_sync LINK a\ndropbox_sync LINK ab", [[], []]),
        ("dropbox_sync LINK\ndropbox_sync LINK b", [[], [1]]),
        ("dropbox_sync FILE x.bin\ndropbox_sync FILE y.bin", [[], [1]]),
        ("dropbox_sync FILE a/x.bin\ndropbox_sync LINK b", [[], []]),
        ("dropbox_sync LINK data\ndropbox_sync LINK proj\nsymlink data proj/in", [[], [], [1, 2]]),
        ("symlink data proj/in\ndropbox_sync LINK proj", [[], [1]]),
        ("dropbox_sync LINK data\nsymlink data in\ndropbox_sync LINK in/more", [[], [1], [1, 2]]),
        ("symlink one link\nsymlink two link\ndropbox_sync LINK link/x", [[], [1], [1, 2]]),
        ("private_pip a/b\npip install six\nprivate_pip a/c", [[], [1], [1, 2]]),
        ("dropbox_sync LINK proj\npip install -r proj/requirements.txt", [[], [1]]),
        ("dropbox_sync LINK data\ndropbox_sync LINK proj\npip install -r proj/requirements.txt", [[], [], [2]]),
        ("dropbox_sync LINK proj\npip install ./proj[extra]", [[], [1]]),
        ("dropbox_sync LINK proj\npip install --editable=proj", [[], [1]]),
        ("dropbox_sync LINK proj\nprivate_pip ./proj/lib", [[], [1]]),
        ("private_pip -e a/lib\ndropbox_sync LINK src/lib", [[], [1]]),
        ("private_pip -e a/lib --src code\ndropbox_sync LINK lib", [[], []]),
        ("dropbox_sync LINK a\nrun ls\ndropbox_sync LINK b\nsymlink x y", [[], [1], [2], [2]]),
        ("mount_drive\ndropbox_sync LINK a\nsymlink drive:x b", [[], [], [1]]),
        ("mount_drive\nprivate_pip a/b", [[], [1]]),
        ("dropbox_sync LINK ./a/../b\ndropbox_sync LINK b", [[], [1]]),
    ],
)
def test_steps_wait_for_what_they_need(block: str, expected: list[list[int]]) -> None:
    """A step keeps its place behind each earlier one with which it shares a path that one of them writes."""
    assert waits(block) == expected


def test_the_token_file_on_the_drive_is_waited_for() -> None:
    """Where the drive is Colab's, a step that may read its token there waits for the mount."""
    steps = read_plan("mount_drive\nprivate_pip a/b\ndropbox_sync secret:X data").steps
    paths = Paths(os.getcwd(), "/content/drive/MyDrive")
    assert waits_of(effects_of(steps, paths, Settings())) == [[], [0], [0]]


def test_two_links_that_are_secrets_come_side_by_side() -> None:
    """Whether one is to a file or to a folder is not known before it is read; different places are enough."""
    assert waits("dropbox_sync secret:ONE data\ndropbox_sync secret:TWO proj\nsymlink data proj/in") == [[], [], [1, 2]]


def test_links_on_the_disk_are_followed() -> None:
    """A path that goes through a symlink that stands there already is where the symlink points."""
    links = {os.path.join(os.getcwd(), "in"): "data"}
    assert waits("dropbox_sync LINK data\ndropbox_sync LINK in/x", links=links) == [[], [1]]


def test_links_in_circles_end() -> None:
    """Symlinks that point at each other are no reason to hang."""
    links = {os.path.join(os.getcwd(), "a"): "b", os.path.join(os.getcwd(), "b"): "a"}
    assert waits("dropbox_sync LINK a/x\ndropbox_sync LINK c", links=links) == [[], []]


def test_a_requirements_file_that_is_there_is_read_for_what_it_names() -> None:
    """Nested files and local projects count; nothing else in the folder does."""
    Path("requirements.txt").write_text("-r base/more.txt\n-e ./lib\nsix\n")
    Path("base").mkdir()
    Path("base/more.txt").write_text("numpy\n")
    block = "dropbox_sync LINK {}\npip install -r requirements.txt"
    assert waits(block.format("elsewhere")) == [[], []]
    assert waits(block.format("lib")) == [[], [1]]
    assert waits(block.format("base")) == [[], [1]]


def test_what_a_requirements_file_clones_is_written() -> None:
    """A repository to be developed in lies below src, as pip's, or below --src; or where it was cloned earlier."""
    address = "git+https://github.com/acme/lib.git@v1#egg=other"
    Path("requirements.txt").write_text(f"-e {address}\n-e git+https://ghp_{'0' * 36}@github.com/acme/x\nsix\n")
    block = "dropbox_sync LINK {}\nprivate_pip -r requirements.txt --src {}"
    assert waits(block.format("code/lib/data", "code")) == [[], [1]]
    assert waits(block.format("lib", "code")) == [[], []]
    assert waits("dropbox_sync LINK src/lib\nprivate_pip -r requirements.txt") == [[], [1]]
    assert waits("dropbox_sync LINK lib\nprivate_pip -r requirements.txt") == [[], []]
    Path("lib/.git").mkdir(parents=True)
    assert waits("dropbox_sync LINK lib\nprivate_pip -r requirements.txt") == [[], [1]]
    assert waits("dropbox_sync LINK src/data\npip install -r requirements.txt") == [[], [1]]


# --- any schedule that the waits allow ends as the sequential run does ---------------------------------------------

PLACES = ["p", "q", "p/d", "p/d/e", "q/d", "r", "p/req.txt"]
place = st.sampled_from(PLACES)
step = st.one_of(
    st.builds("dropbox_sync {0} {1}".format, st.just(LINK), place),
    st.builds("dropbox_sync {0} {1}".format, st.just(FILE), place),
    st.builds("symlink {} {}".format, place, place),
    st.builds("pip install -r {}/req.txt".format, place),
    st.builds("private_pip ./{}".format, place),
    st.just("run x"),
    st.just("mount_drive"),
    st.builds("symlink drive:{} {}".format, place, place),
)


class Model:
    """A file system in miniature, on which steps run."""

    def __init__(self) -> None:
        self.files: dict[str, object] = {}
        self.links: dict[str, str] = {}
        self.packages: list[object] = []

    def follow(self, path: str, depth: int = 0) -> str:
        done = ""
        for part in path.strip("/").split("/"):
            done = f"{done}/{part}"
            if done in self.links:
                if depth > 20:
                    raise LookupError(path)
                done = self.follow(self.links[done], depth + 1)
        return done

    def below(self, path: str) -> list[str]:
        return [file for file in self.files if file == path or file.startswith(f"{path}/")]

    def state(self) -> object:
        return sorted(self.files.items(), key=repr), sorted(self.links.items()), list(self.packages)

    def do(self, number: int, text: str) -> object:
        """Run a step; its value says all that it saw, so that two runs can be compared."""
        try:
            return self._do(number, text)
        except LookupError as error:
            return f"error: {error}"

    def _do(self, number: int, text: str) -> object:
        verb, *words = text.split()
        if verb == "run":
            return self.state()
        if verb == "mount_drive":
            self.files["/drive/mounted"] = number
            return None
        if verb == "dropbox_sync":
            dest = self.follow(f"/w/{words[1]}")
            names = [dest] if words[0] == FILE else [f"{dest}/req.txt", f"{dest}/d/e/f"]
            for name in names:
                if self.follow(name) == name:  # behind a symlink nothing is written
                    self.files[name] = number
            if words[0] == FILE:
                record = f"{os.path.dirname(dest)}/.colab_magics"
                self.files[record] = (self.files.get(record), number)
            return None
        if verb == "symlink":
            drive = words[0].startswith("drive:")
            source = f"/drive/{words[0][6:]}" if drive else f"/w/{words[0]}"
            link = f"/w/{words[1]}"
            parent = self.follow(os.path.dirname(link))
            spot = f"{parent}/{os.path.basename(link)}"
            target = self.follow(source)
            if drive:
                self.files.setdefault(f"{target}/made", "folder")
            elif not self.below(target) and source not in self.links:
                raise LookupError(source)
            if self.below(spot):
                raise LookupError(spot)
            self.links[spot] = source
            return None
        if verb == "pip":
            found = self.files.get(self.follow(f"/w/{words[2]}"))
            self.packages.append((number, found))
            return found
        folder = self.follow(f"/w/{words[0]}")
        seen = sorted((name, self.files[name]) for name in self.below(folder))
        self.packages.append((number, repr(seen)))
        self.files[f"{folder}/build"] = number
        return repr(seen)


@settings(max_examples=100 if ONE_VARIANT else 1000)
@given(st.lists(step, max_size=8), st.data())
def test_every_allowed_schedule_ends_as_the_sequential_run(block: list[str], data: st.DataObject) -> None:
    """Whatever order the waits leave open, each step sees the same and the end is the same.

    A step that fails keeps back what waits for it, as the runner does.
    """
    steps = read_plan("\n".join(block)).steps
    before = waits_of(effects_of(steps, Paths("/w", "/drive", {}.get), Settings(token_file="/elsewhere")))  # type: ignore[arg-type]

    def run(model: Model, number: int, results: dict[int, object]) -> None:
        failed = any(str(results[other]).startswith(("error", "skipped")) for other in before[number])
        results[number] = "skipped" if failed else model.do(number, block[number])

    sequential, expected = Model(), {}
    for number in range(len(block)):
        run(sequential, number, expected)
    shuffled, results, left = Model(), {}, set(range(len(block)))
    while left:
        ready = sorted(number for number in left if not left & set(before[number]))
        number = data.draw(st.sampled_from(ready))
        left.remove(number)
        run(shuffled, number, results)
    assert results == expected
    assert shuffled.state() == sequential.state()
