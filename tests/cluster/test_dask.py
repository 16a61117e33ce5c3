"""A block on the hosts of dask.distributed: a real scheduler, nannies and workers, each host with an interpreter."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from clusters import Dask, dask_cluster, until

from colab_magics import sandbox
from colab_magics.core import HostResult, HostsReport, everywhere
from colab_magics.errors import Interrupted, PlanError, StepError

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (the extra dask)")

pytestmark = pytest.mark.xdist_group("dask")  # one cluster for all of them


class Cluster:
    """A cluster of three hosts with two workers each, and the services that they fetch from."""

    def __init__(self, box: sandbox.Sandbox, dask: Dask) -> None:
        self.box, self.dask = box, dask
        self.ways = {"COLAB_MAGICS_DROPBOX_URL": box.dropbox_url, "COLAB_MAGICS_TOKEN_FILE": str(box.token_file)}
        (box.folder("proj") / "a.txt").write_text("a" * 1000)
        box.add_secret("PROJECT", box.folder_link("proj"))
        self.spec = box.private_repo("acme/secretlib", code="def answer(): return 42\n").spec
        for name in "abc":
            dask.join(name, **self.ways)
        self.client = distributed.Client(dask.address, set_as_default=False)
        self.client.wait_for_workers(6)

    def downloads(self) -> int:
        """Count how often the shared folder went over the network."""
        return sum("/zip_download_get/" in request.path for request in self.box.requests)

    def status(self, worker: str) -> str:
        """Return how the scheduler sees a worker."""
        return str(self.client.scheduler_info()["workers"][worker]["status"])

    def hosts(self) -> dict[str, list[str]]:
        """Return the addresses of the workers there are, by host."""
        found: dict[str, list[str]] = {}
        for address, name in self.client.run(eval, NAME, on_error="ignore").items():
            found.setdefault(name, []).append(address)
        return found


# What workers evaluate, since they have no tests to import.
NAME = "__import__('socket').gethostname()"
USE = "(__import__('secretlib').answer(), __import__('os').environ.get('FLAVOUR'))"


class Hearing(HostsReport):
    """Keeps what each host prints."""

    def __init__(self) -> None:
        self.hosts, self.said = 0, dict[str, str]()

    def begin(self, rows: Sequence[HostResult]) -> None:
        self.hosts = len(rows)

    def output(self, row: HostResult, text: str) -> None:
        self.said[row.host] = self.said.get(row.host, "") + text


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with sandbox.start(activate=False) as box, dask_cluster(tmp_path_factory.mktemp("dask")) as dask:
        made = Cluster(box, dask)
        try:
            yield made
        finally:
            made.client.close()


def block(cluster: Cluster) -> str:
    return (
        f"dropbox_sync secret:PROJECT proj --once\nprivate_pip {cluster.spec}\nenv FLAVOUR=sweet LINK=secret:PROJECT\n"
        "run sh -c 'echo the link: $LINK'\n"
        "run sh -c 'echo once >> ran'\nrun --rank0 sh -c 'echo first >> ran'\n"
    )


def test_each_host_does_it_once_and_all_its_workers_have_it(cluster: Cluster) -> None:
    """Three hosts with two workers each fetch three times; only the first host runs what is for it alone."""
    report = Hearing()
    result = everywhere(cluster.client, block(cluster), report=report)
    assert [(host.host, host.status, len(host.workers)) for host in result.hosts] == [
        (name, "done", 2) for name in "abc"
    ]
    assert cluster.downloads() == 3
    ran = {name: (cluster.dask.machines[name].work / "ran").read_text().split() for name in "abc"}
    assert ran == {"a": ["once", "first"], "b": ["once"], "c": ["once"]}
    assert set(cluster.client.run(eval, USE).values()) == {(42, "sweet")}
    assert all((cluster.dask.machines[name].work / "proj/a.txt").exists() for name in "abc")
    assert report.said == dict.fromkeys("abc", "the link: ***\n")  # masked on the host: it is not known here
    assert "rlkey" not in repr(cluster.client.get_events())


def test_a_worker_that_was_killed_comes_back_with_it(cluster: Cluster) -> None:
    """The host has done the block, so nothing is fetched or run again; the new process has its variables."""
    before = cluster.downloads()
    victim, pid = next(iter(cluster.client.run(os.getpid).items()))
    os.kill(pid, signal.SIGKILL)
    until(lambda: victim not in cluster.client.nthreads() and len(cluster.client.nthreads()) == 6, "a new worker")
    futures = [cluster.client.submit(eval, USE, workers=[address], pure=False) for address in cluster.client.nthreads()]
    assert set(cluster.client.gather(futures)) == {(42, "sweet")}
    assert cluster.downloads() == before
    assert (cluster.dask.machines["b"].work / "ran").read_text().split() == ["once"]


def test_a_late_joiner_has_it_before_it_takes_work(cluster: Cluster) -> None:
    """A task for it that comes while the block runs there begins when that is done."""
    gate = cluster.dask.folder / "gate"
    everywhere(cluster.client, f"private_pip {cluster.spec}\nrun --on linux sh -c '! test -e gate || cat gate'")
    late = cluster.dask.machines.get("d")
    assert late is None
    os.mkfifo(gate)
    before = set(cluster.client.nthreads())
    late = cluster.dask.join("d", 1, **cluster.ways)
    (late.work / "gate").symlink_to(gate)
    [news] = until(lambda: set(cluster.client.nthreads()) - before, "the late worker")
    until(lambda: cluster.status(news) == "closing_gracefully", "its refusal of work")
    future = cluster.client.submit(eval, USE, workers=[news], pure=False)
    cluster.status(news)  # what was sent before has come when this is answered
    assert not future.done()
    gate.write_text("")
    assert future.result(timeout=60)[0] == 42


def test_a_late_joiner_that_fails_ends_with_its_nanny(cluster: Cluster) -> None:
    """No worker goes on without its packages: the host has no token."""
    everywhere(cluster.client, f"private_pip {cluster.spec}")
    late = cluster.dask.join("e", 1, **{**cluster.ways, "COLAB_MAGICS_TOKEN_FILE": str(cluster.dask.folder / "none")})
    assert late.processes[0].wait(60) is not None
    assert "e" not in cluster.hosts()
    assert "is without what it needs" in late.log.read_text()
    assert cluster.box.token not in late.log.read_text()


class Interrupting(Hearing):
    """Interrupts when each host has said what process its command is."""

    def tick(self) -> None:
        if self.hosts == len(self.said) > 0 and all(text.endswith("\n") for text in self.said.values()):
            raise KeyboardInterrupt


def test_an_interrupt_stops_all_hosts(cluster: Cluster) -> None:
    """Nothing of it works on, and the rows say so."""
    report = Interrupting()
    with pytest.raises(Interrupted) as raised:
        everywhere(cluster.client, "run sh -c 'echo $$; exec sleep 300'", report=report)
    assert {host.status for host in raised.value.result.hosts} == {"interrupted"}  # type: ignore[attr-defined]
    for text in report.said.values():
        with pytest.raises(ProcessLookupError):
            os.kill(int(text), 0)


def test_what_needs_a_person_is_refused_before_anything_runs(cluster: Cluster) -> None:
    """In one line that names it; the step before it has not run."""
    with pytest.raises(PlanError, match=r"^line 2: mount_drive needs a notebook's page, and host a has none[^\n]*$"):
        everywhere(cluster.client, "run touch begun\nmount_drive")
    assert not (cluster.dask.machines["a"].work / "begun").exists()
    everywhere(cluster.client, "mount_drive --on colab\nrun true", dry_run=True)


def test_a_host_that_fails_is_named_and_ends(cluster: Cluster) -> None:
    """With its line and step; the others are done, and its workers take no more work."""
    for name in set(cluster.hosts()) - {"c"}:
        (cluster.dask.machines[name].work / "good").touch()
    with pytest.raises(StepError) as raised:
        everywhere(cluster.client, "run true\nrun test -e good")
    assert str(raised.value).startswith("host c: line 2: run: test -e good failed with status 1")
    result: Any = raised.value.result
    assert [host.status for host in result.hosts if host.host in "abc"] == ["done", "done", "failed"]
    until(lambda: "c" not in cluster.hosts(), "the end of the workers of c")
    assert {"a", "b"} <= cluster.hosts().keys()


def test_when_no_host_succeeds_the_workers_stay(cluster: Cluster) -> None:
    """It is the block that is wrong: one mends it and runs it again."""
    before = set(cluster.client.nthreads())
    with pytest.raises(StepError, match=r"^host a and \d more: line 1: run: false failed with status 1"):
        everywhere(cluster.client, "run false")
    assert set(cluster.client.nthreads()) == before


def test_an_address_that_nothing_answers_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says which."""
    from colab_magics.core.cluster import dask

    monkeypatch.setattr(dask, "_CONNECT", 0.2)
    with pytest.raises(PlanError, match=r"^no scheduler answers at tcp://127\.0\.0\.1:9"):
        everywhere("tcp://127.0.0.1:9", "run true")
