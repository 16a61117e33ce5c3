"""What a sync decides to do, without a disk and without a network."""

from __future__ import annotations

import os
import stat
import zlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_magics.core.archives.members import Member
from colab_magics.core.common.selection import Selection
from colab_magics.core.syncing.decision import decide
from colab_magics.core.syncing.manifest import Manifest, Record

NOW = 1_700_000_000_000_000_000


@dataclass
class Thing:
    """What stands somewhere: a file with its content, a folder (None), a symlink with its target."""

    content: bytes | str | None
    mtime_ns: int = NOW


@dataclass
class Tree:
    """A DEST that is only imagined."""

    things: dict[str, Thing] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def status(self, name: str) -> os.stat_result | None:
        thing = self.things.get(name)
        if thing is None or any(self.things.get(up, Thing(None)).content is not None for up in above(name)):
            return None
        kind = {bytes: stat.S_IFREG, str: stat.S_IFLNK}.get(type(thing.content), stat.S_IFDIR)
        size = len(thing.content) if isinstance(thing.content, bytes) else 0
        values = [
            kind | 0o644,
            0,
            0,
            1,
            0,
            0,
            size,
            0,
            thing.mtime_ns // 10**9,
            0,
            0.0,
            thing.mtime_ns / 1e9,
            0.0,
            0,
            thing.mtime_ns,
            0,
        ]
        return os.stat_result(values)

    def crc(self, name: str) -> int:
        self.read.append(name)
        content = self.things[name].content
        assert isinstance(content, bytes)
        return zlib.crc32(content)

    def obstacle(self, name: str) -> tuple[str, bool] | None:
        for up in above(name):
            thing = self.things.get(up)
            if thing is not None and thing.content is not None:
                return up, isinstance(thing.content, str)
        return None

    def target(self, name: str) -> str:
        return str(self.things[name].content)

    def names(self, folder: str) -> set[str]:
        depth = folder.count("/") + 1 if folder else 0
        return {path.split("/")[depth] for path in self.things if path.startswith(f"{folder}/" if folder else "")}

    def below(self, name: str) -> tuple[list[str], list[str]]:
        inner = [other for other in self.things if other.startswith(f"{name}/")]
        files = [other for other in inner if self.things[other].content is not None]
        return files, sorted((other for other in inner if other not in files), key=len, reverse=True)


def above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def file(name: str, content: bytes) -> Member:
    return Member(name, "file", len(content), zlib.crc32(content), 0.0)


def record(content: bytes, mtime_ns: int = NOW, origin: str = "folder") -> Record:
    return Record(len(content), mtime_ns, zlib.crc32(content), origin)


def names(members: list[Member]) -> list[str]:
    return [member.name for member in members]


def test_an_unchanged_file_is_not_even_read() -> None:
    """Size and time stamp as recorded: the recorded CRC is believed; --force reads."""
    tree, manifest = Tree({"a": Thing(b"1")}), Manifest({"a": record(b"1")})
    assert names(decide([file("a", b"1")], tree, manifest).unchanged) == ["a"]
    assert tree.read == []
    assert names(decide([file("a", b"1")], tree, manifest, force=True).unchanged) == ["a"]
    assert tree.read == ["a"]


def test_a_touched_file_is_read_and_not_replaced() -> None:
    """Another time stamp alone is no change: the record learns it, and nothing is backed up when it is replaced."""
    tree, manifest = Tree({"a": Thing(b"1", NOW + 5)}), Manifest({"a": record(b"1")})
    same = decide([file("a", b"1")], tree, manifest)
    assert (names(same.unchanged), same.records["a"].mtime_ns, same.changes) == (["a"], NOW + 5, False)
    other = decide([file("a", b"2")], tree, manifest)
    assert (names(other.updated), other.backups, other.seen) == (["a"], [], {"a": (1, NOW + 5)})


def test_the_users_change_is_backed_up() -> None:
    """Only where it must be replaced: the link's new version equals the user's now and then."""
    tree, manifest = Tree({"a": Thing(b"mine", NOW + 5)}), Manifest({"a": record(b"1")})
    assert decide([file("a", b"2")], tree, manifest).backups == ["a"]
    assert decide([file("a", b"mine")], tree, manifest).backups == []


def test_once_replaces_and_reads_nothing() -> None:
    """What exists stays, of whatever kind."""
    tree = Tree({"a": Thing(b"mine"), "d": Thing(None), "d/x": Thing(b""), "f": Thing(b"")})
    decision = decide([file("a", b"2"), file("d", b""), file("f/x", b""), file("n", b"")], tree, Manifest(), once=True)
    assert (names(decision.unchanged), names(decision.added), decision.left) == (["a"], ["n"], ["d", "f/x"])
    assert (decision.backups, decision.removals, tree.read) == ([], [], [])


def test_nothing_is_decided_behind_a_symlink() -> None:
    """What lies at or below a symlink is left alone; one that is as the archive has it is no matter at all."""
    tree = Tree({"l": Thing("/elsewhere"), "same": Thing("a")})
    members = [
        file("l", b""),
        file("l/x/y", b""),
        Member("l/e", "folder", 0, 0, 0.0),
        Member("same", "link", 0, 0, 0.0, target="a"),
    ]
    decision = decide(members, tree, Manifest({"l/old": record(b"1")}, ["l/e"]), mirror=True)
    assert (decision.left, names(decision.unchanged), decision.changes) == (["l", "l/x/y", "l/e"], ["same"], False)


def test_a_folder_gives_way_to_a_file() -> None:
    """Without a trace when all in it is as syncs left it, as a backup when anything is the user's."""
    tree = Tree({"d": Thing(None), "d/e": Thing(None), "d/x": Thing(b"1")})
    ours = decide([file("d", b"now")], tree, Manifest({"d/x": record(b"1")}))
    assert ([name for name, _ in ours.removals], ours.drops, ours.backups) == (["d/x"], ["d/e", "d"], [])
    for manifest in (
        Manifest(),
        Manifest({"d/x": record(b"2", NOW - 5)}),
        Manifest({"d/x": record(b"1", origin="found")}),
    ):
        assert decide([file("d", b"now")], tree, manifest).backups == ["d"]


def test_mirror_removes_what_a_sync_wrote_and_nothing_else() -> None:
    """Folders go when they are empty then, unless the link holds them."""
    tree = Tree(
        {
            "a/b": Thing(None),
            "a": Thing(None),
            "a/b/x": Thing(b"1"),
            "k": Thing(None),
            "k/y": Thing(b"1"),
            "found": Thing(b"1"),
            "file": Thing(b"1"),
            "changed": Thing(b"mine", NOW + 1),
            "mine": Thing(b"1"),
        }
    )
    manifest = Manifest(
        {
            "a/b/x": record(b"1"),
            "k/y": record(b"1"),
            "found": record(b"1", origin="found"),
            "file": record(b"1", origin="file"),
            "changed": record(b"1"),
            "missing": record(b"1"),
        }
    )
    decision = decide([Member("k", "folder", 0, 0, 0.0)], tree, manifest, mirror=True)
    assert decision.removed == ["a/b/x", "k/y", "changed"]
    assert [name for name, _ in decision.removals] == ["a/b/x", "k/y"]
    assert (decision.backups, decision.drops, decision.standing) == (["changed"], ["a/b", "a"], ["k"])


def test_our_own_folder_is_no_members_place() -> None:
    """Whatever an archive holds there, in upper case too, is passed over."""
    members = [file(".colab_magics/manifest.json", b""), file(".Colab_Magics/journal.json", b"")]
    assert not decide(members, Tree(), Manifest()).changes


parts = st.sampled_from(["a", "b", "c"])
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
contents = st.sampled_from([b"1", b"2", b"33"])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Member], Tree, Manifest]:
    """Draw an archive, a DEST and what earlier syncs knew of it."""
    members: dict[str, Member] = {}
    for name in draw(st.lists(paths, max_size=6, unique=True)):
        if not any(up in members for up in above(name)) and not any(other.startswith(f"{name}/") for other in members):
            members[name] = file(name, draw(contents))
    things: dict[str, Thing] = {}
    for name in draw(st.lists(paths, max_size=6, unique=True)):
        if any(things.get(up, Thing(None)).content is not None for up in above(name)) or name in things:
            continue
        things |= {up: things.get(up, Thing(None)) for up in above(name)}
        things[name] = Thing(draw(st.one_of(contents, st.just("target"), st.none())))
    known: dict[str, Record] = {}
    for name in draw(st.lists(paths, max_size=6, unique=True)):
        content = draw(contents)
        touched = draw(st.booleans()) or things.get(name, Thing(None)).content != content
        known[name] = record(content, NOW - 5 if touched else NOW)
    return list(members.values()), Tree(things), Manifest(known)


@given(worlds(), st.booleans(), st.booleans(), st.booleans())
def test_nothing_of_the_users_is_ever_lost(
    world: tuple[list[Member], Tree, Manifest], once: bool, mirror: bool, force: bool
) -> None:
    """Whatever stands in DEST: what goes or is replaced is known to be a sync's, or is among the backups."""
    members, tree, manifest = world
    decision = decide(members, tree, manifest, once=once, mirror=mirror and not once, force=force)
    kept = set(decision.backups)
    for name, thing in tree.things.items():
        goes = name in names(decision.updated) or any(name == other for other, _ in decision.removals)
        known = manifest.files.get(name)
        is_ours = known is not None and isinstance(thing.content, bytes) and known.crc == zlib.crc32(thing.content)
        if goes and not is_ours:
            assert name in kept or any(up in kept for up in above(name))
        if isinstance(thing.content, str):
            assert not goes
            assert name not in decision.backups
    if once:
        assert (decision.updated, decision.removals, decision.backups) == ([], [], [])


@given(worlds(), st.booleans())
def test_every_member_has_one_fate(world: tuple[list[Member], Tree, Manifest], force: bool) -> None:
    """Added, updated, unchanged or left alone; each file once."""
    members, tree, manifest = world
    decision = decide(members, tree, manifest, force=force)
    fates = names(decision.added) + names(decision.updated) + names(decision.unchanged) + decision.left
    assert sorted(fates) == sorted(names(members))


@pytest.mark.parametrize(
    ("glob", "taken", "not_taken"),
    [
        ("*.csv", ["a.csv", "d/a.csv", "x.csv/inner"], ["a.txt", "csv"]),
        ("d", ["d", "d/a", "x/d/a"], ["da", "x/da"]),
        ("/d", ["d/a"], ["x/d/a"]),
        ("d/*.csv", ["d/a.csv", "d/a.csv/x"], ["d/e/a.csv", "x/d/a.csv"]),
        ("d/**", ["d/a", "d/e/a"], ["d", "x/d/a"]),
        ("**/a", ["a", "x/y/a"], ["ba"]),
        ("d/**/a", ["d/a", "d/x/y/a"], ["d/xa"]),
        ("?.txt", ["a.txt"], ["ab.txt", ".txt"]),
        ("[ab].txt", ["a.txt", "d/b.txt"], ["c.txt"]),
        ("[!ab].txt", ["c.txt"], ["a.txt"]),
        ("[]].txt", ["].txt"], ["a.txt"]),
        ("[z-a]", ["[z-a]"], ["z"]),
        ("a[b", ["a[b"], ["ab"]),
        ("ünï*", ["ünïcode"], ["unicode"]),
        ("./d/a", ["d/a"], ["x/d/a"]),
    ],
)
def test_globs_are_those_of_gitignore(glob: str, taken: list[str], not_taken: list[str]) -> None:
    """The same pattern includes and excludes the same names."""
    for name in taken:
        assert Selection(include=(glob,)).takes(name)
        assert not Selection(exclude=(glob,)).takes(name)
    for name in not_taken:
        assert not Selection(include=(glob,)).takes(name)
        assert Selection(exclude=(glob,)).takes(name)


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_glob_is_a_stack_trace(glob: str, name: str) -> None:
    """Any text is a pattern."""
    Selection(include=(glob,)).takes(name)


def test_names_that_differ_in_case_are_two_files_where_the_disk_has_two() -> None:
    """The one that the link no longer holds goes."""
    tree = Tree({"d/A": Thing(b"1"), "d/a": Thing(b"2")})
    manifest = Manifest({"d/A": record(b"1"), "d/a": record(b"2")})
    made = decide([file("d/a", b"2")], tree, manifest, mirror=True)
    assert made.removed == ["d/A"]
