"""The process that keeps a folder: how it begins, what it outlives, and how it ends."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from keepers import kernel, stop_all, tree, until

from colab_magics import core
from colab_magics.cli import main
from colab_magics.core.keeping import keep as keeping
from colab_magics.core.keeping.state import State
from colab_magics.errors import LayoutError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No keeper outlives its test."""
    yield
    stop_all()


@pytest.fixture
def work() -> Path:
    made = Path("work")
    made.mkdir()
    (made / "a.txt").write_text("a")
    return made


def keeper() -> int:
    return State.of("work").progress().keeper[0]


def is_ended() -> bool:
    return State.of("work").progress().ended


class TestBegin:
    def test_what_appears_is_there_after_a_push(self, work: Path) -> None:
        """And the status says what, how much and when; a second call finds the same process."""
        assert core.keep(work, "dest").status == "keeping"
        first = keeper()
        [status] = core.kept(work, now=True)
        assert tree() == {"a.txt": "a"}
        assert (status.kept, status.pending, status.failed, status.bytes) == (["a.txt"], {}, {}, 1)
        assert status.last is not None
        assert core.keep(work, "dest").status == "up-to-date"
        assert core.keep(work, "dest", last=[(1, "*.pt")]).status == "keeping"
        assert keeper() == first

    def test_what_is_gone_from_dest_is_not_said_to_be_there(self, work: Path) -> None:
        """Somebody emptied it while the keeper runs: a push that is asked for looks, and copies it again."""
        core.keep(work, "dest")
        core.kept(work, now=True)
        shutil.rmtree("dest")
        [status] = core.kept(work, now=True)
        assert tree() == {"a.txt": "a"}
        assert status.kept == ["a.txt"]

    def test_what_may_be_a_typing_error_is_said(self, work: Path) -> None:
        """A SOURCE that was not there, and a DEST that is lost together with SOURCE; once."""
        shared = "is on the same disk as {}, and is lost together with it"
        assert core.keep(work, "dest", dry_run=True).notes == [f"dest {shared.format('work')}"]
        begun = core.keep("wrok", "dest")
        assert begun.notes == ["wrok was not there, and is made", f"dest {shared.format('wrok')}"]
        assert repr(begun).endswith("; ".join(begun.notes))
        assert core.keep("wrok", "dest").notes == []

    def test_a_dry_run_starts_nothing(self, work: Path) -> None:
        """And makes no folder, not even one of state."""
        assert core.keep("new", "dest", dry_run=True).status == "planned"
        assert not Path("new").exists()
        assert core.kept() == []

    def test_its_process_shows_no_secret(self, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither in its arguments nor in its environment, nor in what it writes."""
        monkeypatch.setenv("GITHUB_TOKEN", "ghp_sEcReTsEcReTsEcReT")
        monkeypatch.setenv("HTTPS_PROXY", "http://me:sEcReTsEcReT@127.0.0.1:1")
        core.keep(work, "dest")
        core.kept(work, now=True)
        shown = [Path(f"/proc/{keeper()}/{name}").read_bytes() for name in ("cmdline", "environ")]
        shown += [path.read_bytes() for path in State.of("work").folder.iterdir()]
        assert not any(b"sEcReT" in text for text in shown)

    def test_one_folder_is_kept_at_one_place(self, work: Path) -> None:
        """And not in itself, nor through a symlink that leads there; a file is none."""
        core.keep(work, "dest")
        Path("link").symlink_to("dest")
        for source, dest, message in [
            ("work", "other", "is kept at dest already"),
            ("work", "work/sub", "lie in each other"),
            ("link/sub", "dest", "lie in each other"),
            ("work/a.txt", "other", "is a file; keep its folder"),
            ("new", "work/a.txt", "has to be a folder"),
        ]:
            with pytest.raises(LayoutError, match=message):
                core.keep(source, dest)
        with pytest.raises(LayoutError, match="'nowhere' is not kept"):
            core.kept("nowhere")


class TestEnd:
    def test_it_outlives_a_kernel_that_is_killed_and_pushes_once_more(self, work: Path) -> None:
        """What was made in the last moment is there; then it ends."""
        with kernel() as made:
            until(lambda: tree() == {"a.txt": "a"})
            (work / "b.txt").write_text("b")
            made.send_signal(signal.SIGKILL)
            until(is_ended)
        assert tree() == {"a.txt": "a", "b.txt": "b"}
        assert not Path("dest/.colab_magics").exists()

    def test_a_new_kernel_finds_it(self, work: Path) -> None:
        """It goes on as long as one of them lives."""
        with kernel() as first, kernel() as second:
            before = keeper()
            first.kill()
            first.wait()
            (work / "b.txt").write_text("b")
            with kernel(every=0.2):
                until(lambda: tree() == {"a.txt": "a", "b.txt": "b"})
                assert keeper() == before
                second.kill()
            until(is_ended)

    def test_an_orderly_end_of_the_kernel_waits_for_a_push(self, work: Path) -> None:
        """What is not there in time is said."""
        with kernel() as made:
            (work / "b.txt").write_text("b")
            assert made.stdin is not None
            made.stdin.close()
            made.wait(60)
            until(lambda: tree() == {"a.txt": "a", "b.txt": "b"})

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_to_end_lets_it_push_once_more(self, work: Path, number: int) -> None:
        """As when the machine goes down."""
        with kernel() as made:
            until(lambda: State.of("work").progress().answered is not None and tree() == {"a.txt": "a"})
            (work / "b.txt").write_text("b")
            os.kill(keeper(), number)
            until(is_ended)
            made.kill()
        assert tree() == {"a.txt": "a", "b.txt": "b"}

    def test_one_that_is_killed_is_started_again(self, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As long as the kernel lives."""
        monkeypatch.setattr(keeping, "_SUPERVISE", 0.05)
        core.keep(work, "dest", every=0.2)
        first = keeper()
        os.kill(first, signal.SIGKILL)
        (work / "b.txt").write_text("b")
        until(lambda: tree() == {"a.txt": "a", "b.txt": "b"})
        assert keeper() != first

    def test_one_that_is_killed_and_has_nobody_left_is_started_by_a_push(self, work: Path) -> None:
        """Also one that another process had begun, and is gone."""
        with kernel() as made:
            number = keeper()
            made.kill()
            made.wait()
            os.kill(number, signal.SIGKILL)
        (work / "b.txt").write_text("b")
        until(lambda: "was killed (keep work --now goes on)" in repr(core.kept()))
        core.kept(work, now=True)
        assert tree() == {"a.txt": "a", "b.txt": "b"}
        until(is_ended)

    def test_one_that_is_killed_is_started_again_for_all_who_asked_for_it(self, work: Path) -> None:
        """It does not end with the one that has started it."""
        with kernel() as made:
            os.kill(keeper(), signal.SIGKILL)
            core.keep(work, "dest")
            config = State.of(work).config()
            assert config is not None
            assert {number for number, _ in config.watch} == {made.pid, os.getpid()}

    def test_one_that_ends_and_cannot_copy_all_says_until_when_it_tries(
        self, work: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And nobody waits for it all that time."""
        monkeypatch.setattr(keeping, "_REFUSED", 0)
        Path("blocked").write_text("a file")
        core.keep(work, "blocked/dest")
        core.kept(work, stop=True)
        until(lambda: core.kept(work)[0].status == "ending")
        [status] = core.kept(work)
        assert list(status.failed) == ["a.txt"]
        assert status.until is not None
        assert "tries until" in repr(status)

    def test_from_a_shell_it_runs_until_it_is_stopped(self, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The command that started it has ended at once."""
        assert main(["keep", "work", "dest", "--every", "1h"]) == 0
        assert main(["keep", "--now"]) == 0
        assert tree() == {"a.txt": "a"}
        (work / "b.txt").write_text("b")
        assert main(["keep", "work", "--stop"]) == 0
        assert tree() == {"a.txt": "a", "b.txt": "b"}
        assert is_ended()
        assert "work -> dest: ended, 2 there (2 B), last verified at " in capsys.readouterr().out
        for wrong in (["work"], ["work", "dest", "--now"], ["work", "dest", "--every", "0"], ["drive:x", "dest"]):
            assert main(["keep", *wrong]) == 2


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keep_benchmark", ROOT / "benchmarks" / "keep.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_random_kills_tear_nothing_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of kernel, keeper and writer, while files are made and rewritten (a thousand of them: ``benchmarks/keep.py``)."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    module = benchmark()
    _, kills, read, torn, torn_at_end, lost, *_ = module.kills("keep", 25, tmp_path, 2e6, 3, 0.3)
    assert (kills, torn, torn_at_end, lost) == (25, 0, 0, 0)
    assert read
