"""What a person sees while something runs."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from colab_magics import masking
from colab_magics.core import SyncResult
from colab_magics.display import Lines, Stretch, described


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_file_gets_no_progress() -> None:
    """When nobody watches, only notes and results are written."""
    stream = io.StringIO()
    lines = Lines(live=False, stream=stream)
    lines.begin("data", 100)
    lines.advance(100)
    lines.say("a note")
    lines.end()
    assert stream.getvalue() == "a note\n"


def test_a_terminal_gets_a_line_in_place_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar shows what is fetched and how much, and leaves an empty line behind."""
    for name in ("_DELAY", "_PAUSE"):
        monkeypatch.setattr(f"colab_magics.display.{name}", 0)
    stream = Terminal()
    lines = Lines(live=True, stream=stream)
    lines.begin("data", 2_000_000)
    lines.advance(1_000_000)
    lines.say("a note")
    lines.advance(1)
    lines.end()
    shown = stream.getvalue()
    assert "data" in shown
    assert "data: 50 %, 1.0 MB of 2.0 MB" in shown
    assert "a note\n" in shown
    assert shown.endswith("\r")


def test_a_transfer_that_stalls_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nothing has come since it began: a screen that stays empty looks as if all had stopped."""
    monkeypatch.setattr("colab_magics.display._DELAY", 0.01)
    shown = threading.Event()

    class Watched(Terminal):
        def write(self, text: str) -> int:
            if "data" in text:
                shown.set()
            return super().write(text)

    stream = Watched()
    lines = Lines(live=True, stream=stream)
    lines.begin("data")
    assert shown.wait(30)
    lines.end()
    assert not [thread for thread in threading.enumerate() if thread.name == "progress" and thread.join(30)]
    assert stream.getvalue().endswith("\r")


def test_what_is_over_at_once_shows_no_bar() -> None:
    """Small work leaves no flicker, and nothing in a saved notebook."""
    stream = Terminal()
    lines = Lines(live=True, stream=stream)
    lines.begin("data", 10)
    lines.advance(10)
    lines.end()
    assert stream.getvalue().strip() == ""


def test_quiet_shows_nothing() -> None:
    """Neither bars nor notes nor a command's output."""
    stream = Terminal()
    lines = Lines(live=True, quiet=True, stream=stream)
    lines.begin("data", 10)
    lines.advance(10)
    lines.say("note")
    lines.output("text")
    lines.end()
    assert stream.getvalue() == ""


def test_what_is_written_is_masked() -> None:
    """A secret in a label or a note is not shown."""
    masking.register("display-secret-0123")
    stream = Terminal()
    lines = Lines(live=True, stream=stream)
    lines.begin("display-secret-0123")
    lines.say("has display-secret-0123 in it")
    lines.end()
    assert "display-secret-0123" not in stream.getvalue()
    assert "has *** in it" in stream.getvalue()


def test_lines_in_place_are_redrawn_and_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those from before go up and away; no line wraps, since that would leave a trace; text that stays comes above."""
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "4")
    stream = Terminal()
    lines = Lines(live=True, stream=stream)
    lines.show(["a" * 30, "b", "c", "d"])
    lines.show(["e"])
    lines.say("note")
    lines.show([])
    assert stream.getvalue() == f"{'a' * 19}\nb\nc\r\x1b[2A\x1b[Je\r \rnote\n"


def test_a_dry_run_lists_what_fits_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says how many there are more, and how to see them."""
    monkeypatch.setenv("LINES", "24")
    names = [f"{number:03}.txt" for number in range(300)]
    first, *_, last, summary = described(SyncResult(Path("data"), added=names, status="planned"))
    assert (first, last.partition(",")[0]) == ("+ 000.txt", "  and 283 more")
    assert "300 added" in summary
    assert len(described(SyncResult(Path("data"), added=names[:18], status="planned"))) == 19


def test_how_long_the_rest_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told once the rate has settled, and only where the whole is known."""
    clock = [100.0]
    monkeypatch.setattr("colab_magics.display.time.monotonic", lambda: clock[0])
    stretch = Stretch("data", 10_000_000, clock[0], 5_000_000)
    clock[0] += 0.5
    assert "left" not in str(stretch)
    clock[0] += 1.5
    assert str(stretch) == "data: 50 %, 5.0 MB of 10.0 MB, 2.5 MB/s, 2.0 s left"
    assert str(Stretch("data", None, clock[0] - 2, 5_000_000)) == "data: 5.0 MB, 2.5 MB/s"
