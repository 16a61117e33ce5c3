"""What a person sees while something runs."""

from __future__ import annotations

import io

from colab_magics import masking
from colab_magics.display import Lines


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


def test_a_terminal_gets_a_line_in_place_that_goes_away(monkeypatch) -> None:
    """The bar shows what is fetched and how much, and leaves an empty line behind."""
    monkeypatch.setattr("colab_magics.display._DELAY", 0)
    stream = Terminal()
    lines = Lines(live=True, stream=stream)
    lines.begin("data", 2_000_000)
    lines.advance(1_000_000)
    lines.say("a note")
    lines.end()
    shown = stream.getvalue()
    assert "data" in shown
    assert "2.00M" in shown
    assert "a note\n" in shown
    assert shown.endswith("\r")


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
