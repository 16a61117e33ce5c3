"""How a block that runs is shown."""

from __future__ import annotations

import html.parser
import io
import re

import pytest

from colab_magics import masking
from colab_magics.core import StepResult, read_plan
from colab_magics.display import Lines
from colab_magics.report import LinesReport, TableReport, html_table, plain_table

STEPS = read_plan("symlink a b\nrun python train.py --name '<b>&'\n").steps


def table() -> tuple[TableReport, list[tuple[dict[str, str], bool]]]:
    shown: list[tuple[dict[str, str], bool]] = []
    return TableReport(
        Lines(live=True, stream=io.StringIO()), lambda bundle, update: shown.append((bundle, update))
    ), shown


def test_a_table_is_shown_once_and_then_updated() -> None:
    """The first message makes the display, every later one replaces it; what did not change is not sent."""
    report, shown = table()
    report.begin(STEPS)
    report.tick()
    report.started(STEPS[0])
    report.ended(STEPS[0], StepResult(1, "symlink", "up-to-date", 0.01, "b -> a: up to date"))
    assert [update for _, update in shown] == [False, True]
    assert shown[0][0]["text/plain"].splitlines()[1].split() == ["1", "symlink", "·", "waiting", "a", "b"]
    assert "up to date" in shown[1][0]["text/plain"]
    assert "0.01 s" in shown[1][0]["text/plain"]


def test_both_forms_say_the_same() -> None:
    """The HTML has the words of the plain text, escaped, and states are words."""
    rows = [("1", "run", "failed", "1.0 s", "<b>&"), ("2", "run", "skipped", "", "x")]

    class Cells(html.parser.HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.text: list[str] = []

        def handle_data(self, data: str) -> None:
            self.text.append(data)

    cells = Cells()
    cells.feed(html_table(rows))
    assert cells.text == ["line", "step", "state", "time", *rows[0], "2", "run", "skipped", "x"]
    plain = plain_table(rows)
    assert [cell for row in rows for cell in row if cell not in plain] == []


def test_progress_stands_in_the_steps_row() -> None:
    """While a step fetches, its row says what, how much of how much, and how fast."""
    report, shown = table()
    report.begin(STEPS)
    report.started(STEPS[0])
    progress = report.progress(STEPS[0])
    progress.begin("data.zip", 2_000_000)
    progress.advance(500_000)
    report.tick()
    row = shown[-1][0]["text/plain"].splitlines()[1]
    assert "running" in row
    assert "data.zip: 25 %, 500 kB of 2.0 MB" in row
    assert shown[-1][0]["text/plain"].splitlines()[-1].startswith("0 of 2 steps, ")
    assert "0 of 2 steps" in shown[-1][0]["text/html"]
    assert "/s" in row
    progress.end()
    report.tick()
    assert "data.zip" not in shown[-1][0]["text/plain"]


def test_a_secret_does_not_stand_in_a_row() -> None:
    """What a step is called is masked in both forms."""
    masking.register("report-secret-0123")
    report, shown = table()
    report.begin(read_plan("run echo report-secret-0123").steps)
    assert "report-secret-0123" not in str(shown)
    assert "echo ***" in shown[0][0]["text/plain"]


def test_lines_for_a_file() -> None:
    """Elsewhere each step is one line when it ends; only a command is announced, since its output follows."""
    stream = io.StringIO()
    report = LinesReport(Lines(live=False, stream=stream))
    report.begin(STEPS)
    report.started(STEPS[0])
    report.ended(STEPS[0], StepResult(1, "symlink", "done", 0.0, "b -> a"))
    report.started(STEPS[1])
    report.progress(STEPS[1]).output("epoch 1\n")
    report.ended(STEPS[1], StepResult(2, "run", "failed", 2.0, "first line\nsecond"))
    assert [line.split() for line in stream.getvalue().splitlines()] == [
        ["line", "1", "symlink", "done", "b", "->", "a"],
        ["line", "2", "run", "python", "train.py", "--name", "'<b>&'"],
        ["epoch", "1"],
        ["line", "2", "run", "failed", "2.0", "s", "first", "line"],
    ]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the lines of what has: what runs, how far it is, what waits; a command has the terminal for itself."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "30")
    stream = Terminal()
    report = LinesReport(Lines(live=True, stream=stream))
    report.begin(STEPS)
    report.started(STEPS[0])
    report.progress(STEPS[0]).begin("data.zip", 2_000_000)
    report.progress(STEPS[0]).advance(1_000_000)
    report.tick()
    overall, first, second = stream.getvalue().splitlines()
    assert overall.startswith("0 of 2 steps, ")
    assert re.fullmatch(r" +1  symlink  ▸ running  \S+ m?s  data.zip: 50 %, 1.0 MB of 2.0 MB, \S+ \wB/s", first)
    assert second.split()[:4] == ["2", "run", "·", "waiting"]
    report.ended(STEPS[0], StepResult(1, "symlink", "done", 0.5, "b -> a"))
    report.started(STEPS[1])
    before = stream.getvalue()
    report.tick()
    report.progress(STEPS[1]).output("epoch 1\n")
    assert stream.getvalue() == f"{before}epoch 1\n"
    report.ended(STEPS[1], StepResult(2, "run", "done", 2.0, ""))
    assert "waiting" not in stream.getvalue().rpartition("\x1b[J")[2]


def test_a_narrow_terminal_shows_how_far_a_step_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a line of its own: its rate stands at the end, where the terminal would cut it."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "30")
    stream = Terminal()
    report = LinesReport(Lines(live=True, stream=stream))
    report.begin(STEPS)
    report.started(STEPS[0])
    report.progress(STEPS[0]).begin("data.zip", 2_000_000)
    report.progress(STEPS[0]).advance(1_000_000)
    report.tick()
    _, first, second, third = stream.getvalue().splitlines()
    assert re.fullmatch(r" +1  symlink  ▸ running  \S+ m?s", first)
    assert re.fullmatch(r"      data.zip: 50 %, 1.0 MB of 2.0 MB, \S+ \wB/s", second)
    assert third.split()[:4] == ["2", "run", "·", "waiting"]


def test_advice_in_a_detail_is_not_cut() -> None:
    """However long its line is."""
    report, shown = table()
    report.begin(STEPS)
    advice = f"{'x' * 300}; move it away"
    report.ended(STEPS[0], StepResult(1, "symlink", "failed", 0.01, f"{advice}\n    more"))
    assert advice in shown[-1][0]["text/plain"]
    assert advice in shown[-1][0]["text/html"]
