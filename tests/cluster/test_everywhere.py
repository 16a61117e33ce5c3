"""What the caller decides: who is asked what, what the hosts agree on, what is told; the engine is a stand-in."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shells import real_shell

import colab_magics
from colab_magics import cli, core
from colab_magics.core.cluster import everywhere as module
from colab_magics.core.cluster import host
from colab_magics.core.cluster.order import Answer, Event, Order
from colab_magics.display import Lines
from colab_magics.errors import PlanError, StepError, TokenError
from colab_magics.report import HostsLines, HostsTable


class Engine:
    """Hosts that answer as they are told: by name, the commit that each finds, or how it fails."""

    def __init__(self, **hosts: str) -> None:
        self.hosts, self.calls, self.kept, self.retired = (
            hosts,
            list[tuple[Order, list[str]]](),
            list[Order](),
            list[str](),
        )
        self.lacks: list[str] = []
        self.version = colab_magics.__version__
        self.why = ""

    def workers(self) -> list[str]:
        return [f"{name}{number}" for name in self.hosts for number in (1, 2)]

    def start(self, task: Callable[..., Answer], order: Order, workers: list[str], _: Mapping[str, str]) -> Engine:
        if task is host.probe:
            place = {"version": self.version, "environment": "linux", "lacks": self.lacks}
            self.answer = {each: {**place, "place": each[:-1], "host": each[:-1]} for each in workers}
            return self
        self.calls.append((order, workers))
        self.answer = {worker: self.work(order, worker) for worker in workers}
        return self

    def work(self, order: Order, worker: str) -> Answer:
        name = worker[:-1]
        failed = self.hosts[name].startswith("line")
        commit = json.loads(order.lock)["repositories"]["h/x"] if order.lock else self.hosts[name]
        lock = {"version": 2, "python": "3", "syncs": {}, "repositories": {"h/x": commit}, "packages": {}, "block": ""}
        return {
            "place": name,
            "mine": worker.endswith("1"),
            "status": "failed" if failed else "done",
            "detail": self.hosts[name] if failed else "1 done",
            "seconds": 1.0,
            "steps": [],
            "lock": "" if failed else json.dumps(lock),
            "changed": [],
        }

    def events(self) -> Iterator[Event]:
        yield from ()

    def answers(self) -> dict[str, Answer]:
        return self.answer

    def exposed(self) -> str:
        return self.why

    def keep(self, order: Order) -> str:
        self.kept.append(order)
        return ""

    def retire(self, workers: list[str]) -> None:
        self.retired += workers

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., core.EverywhereResult]:
    """`everywhere`, with an engine as its client."""
    monkeypatch.setattr(module, "_engine", lambda client: client)
    return core.everywhere


def test_a_host_that_found_something_else_does_it_again_with_what_the_first_found(call: Any) -> None:
    """And workers that join later are held to that too."""
    engine = Engine(a="1111", b="2222", c="1111")
    result = call(engine, "private_pip h.example/o/x")
    assert [workers for _, workers in engine.calls] == [["a1", "a2", "b1", "b2", "c1", "c2"], ["b1", "b2"]]
    assert json.loads(engine.calls[1][0].lock)["repositories"] == {"h/x": "1111"}
    assert engine.calls[1][0].run != engine.calls[0][0].run
    [kept] = engine.kept
    assert kept.lock == result.lock == engine.calls[1][0].lock
    assert kept.joins
    assert engine.retired == []


def test_hosts_that_fail_alike_are_told_in_one_line(call: Any) -> None:
    """A thousand of them too; when others are ready, their workers end."""
    engine = Engine(good="1111", **{f"h{number:03}": "line 1: apt: no such package" for number in range(999)})
    with pytest.raises(StepError) as raised:
        call(engine, "apt install nowhere")
    assert str(raised.value) == "host h000 and 998 more: line 1: apt: no such package"
    assert len(engine.retired) == 2 * 999


def test_what_cannot_run_is_refused_before_anything_does(call: Any) -> None:
    """Another version there, a secret that a host lacks or that may not go over its connection, no workers."""
    engine = Engine(a="1111")
    engine.version = "9.9"
    with pytest.raises(PlanError, match=r"^host a has colab-magics 9\.9, and this is [^\n]*; install the same$"):
        call(engine, "run true")
    engine = Engine(a="1111")
    engine.lacks = ["secret:KEY"]
    with pytest.raises(TokenError, match=r"^host a does not have the secret KEY; [^\n]*COLAB_MAGICS_SECRET_KEY\), or"):
        call(engine, "env KEY=secret:KEY")
    engine.why = "the connection to tcp://10.0.0.1:1 is neither TLS nor on this machine"
    with pytest.raises(TokenError, match=r"^secrets are not sent: the connection to tcp://10\.0\.0\.1:1 is neither"):
        call(engine, "env KEY=secret:KEY", send_secrets=True)
    with pytest.raises(PlanError, match=r"^there are no workers yet; start some"):
        call(Engine(), "run true")
    assert engine.calls == []


def test_an_order_holds_the_notebooks_variables_that_the_block_names_and_no_secret(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's stay where they are: each host has its own."""
    monkeypatch.setenv("OURS", "of this machine")
    engine = Engine(a="1111")
    call(engine, "run echo $GREETING $OURS", variables={"GREETING": "hello", "OTHER": "unused"})
    assert dict(engine.calls[0][0].variables) == {"GREETING": "hello"}
    link = "https://www.dropbox.com/scl/fo/abc123/AHash?rlkey=0123456789abcdef&dl=0"
    for block in (f"dropbox_sync {link}", f"env LINK={link}", f"run true # {link}"):
        with pytest.raises(TokenError, match=r"^line 1: a link's key"):
            call(engine, block)


def test_the_magic_and_the_command_line_run_a_block_over_a_cluster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A client is named as the notebook names it; a shell names an address; the cell fails as a host does."""
    engine, asked = Engine(a="1111", b="1111"), list[object]()
    monkeypatch.setattr(module, "_engine", lambda client: asked.append(client) or engine)
    with real_shell() as shell:
        shell.run_line_magic("load_ext", "colab_magics")
        shell.user_ns |= {"client": "the client", "GREETING": "hello"}
        done = shell.run_cell("%%bootstrap --over client --lock made.lock\nrun echo $GREETING")
        assert [each.status for each in done.result.hosts] == ["done", "done"]
        assert engine.calls[-1][0].variables == {"GREETING": "hello"}
        assert json.loads(Path("made.lock").read_text())["repositories"] == {"h/x": "1111"}
        shell.run_cell("%%bootstrap --over clint\nrun true")
        assert "--over clint: this notebook has no such name" in capsys.readouterr().err
        assert isinstance(shell.run_cell("%%bootstrap --send-secrets\nrun true").error_in_exec, PlanError)
        engine.hosts["b"] = "line 1: run: false failed with status 1"
        failed = shell.run_cell("%%bootstrap --over client\nrun false").error_in_exec
        assert isinstance(failed, StepError)
    capsys.readouterr()
    Path("block.txt").write_text("run true\n")
    assert cli.main(["run", "block.txt", "--over", "tcp://h:1"]) == 1
    assert "host b: line 1: run: false failed with status 1" in capsys.readouterr().err
    assert asked == ["the client", "the client", "tcp://h:1"]


def rows(count: int) -> list[core.HostResult]:
    made = [core.HostResult(f"h{number:03}", "done", float(number), "1 done", ["w"]) for number in range(count)]
    made[3] = replace(made[3], status="failed", detail="line 2: run: false failed with status 1")
    made[7] = replace(made[7], status="running", seconds=0.0, detail="1 of 2 steps; line 2: run")
    return made


def test_many_hosts_are_folded_to_the_failed_and_the_slowest() -> None:
    """What failed first, then what runs, then what took longest; the others are counted."""
    shown: list[dict[str, str]] = []
    table = HostsTable(Lines(live=False, stream=io.StringIO()), lambda bundle, _: shown.append(bundle))
    table.begin(rows(1000))
    lines = shown[-1]["text/plain"].splitlines()
    assert [line.split()[0] for line in lines[1:9]] == ["h003", "h007", "h999", "h998", "h997", "h996", "h995", "and"]
    assert lines[8].split(None, 3) == ["and", "993", "more", "993 done"]
    assert lines[9].startswith("999 of 1000 hosts, ")
    assert 'scope="col"' in shown[-1]["text/html"]


def test_what_hosts_print_has_their_names_line_by_line() -> None:
    """Also when it comes in pieces; of many hosts only the first one's is shown."""
    stream = io.StringIO()
    report, three = HostsLines(Lines(live=False, stream=stream)), rows(9)[:3]
    report.begin(three)
    report.output(three[0], "one\ntw")
    report.output(three[1], "other\n")
    report.output(three[0], "o\nrest")
    report.ended(three[0])
    assert stream.getvalue().splitlines()[:4] == ["h000: one", "h001: other", "h000: two", "h000: rest"]
    stream = io.StringIO()
    report, many = HostsLines(Lines(live=False, stream=stream)), rows(20)
    report.begin(many)
    for row in many[:3]:
        report.output(row, "printed\n")
    assert stream.getvalue() == "h000: printed\n"
