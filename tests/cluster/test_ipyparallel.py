"""A block on the hosts of ipyparallel: a real controller and engines, each host with an interpreter of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from clusters import Ipyparallel, dates_read, ipyparallel_cluster, until

from colab_magics import sandbox
from colab_magics.core import HostResult, HostsReport, everywhere
from colab_magics.errors import Interrupted, StepError

with dates_read():
    ipyparallel = pytest.importorskip("ipyparallel", reason="ipyparallel is not installed (the extra of that name)")

pytestmark = pytest.mark.xdist_group("ipyparallel")  # one cluster for all of them

USE = "(__import__('secretlib').answer(), __import__('os').environ.get('FLAVOUR'))"


class Cluster:
    """A cluster of two hosts, one of them with two engines, and the services that they fetch from."""

    def __init__(self, box: sandbox.Sandbox, hosts: Ipyparallel) -> None:
        self.box, self.hosts = box, hosts
        self.ways = {"COLAB_MAGICS_DROPBOX_URL": box.dropbox_url, "COLAB_MAGICS_TOKEN_FILE": str(box.token_file)}
        (box.folder("proj") / "a.txt").write_text("a" * 1000)
        box.add_secret("PROJECT", box.folder_link("proj"))
        self.spec = box.private_repo("acme/secretlib", code="def answer(): return 42\n").spec
        hosts.join("a", 2, **self.ways)
        hosts.join("b", 1, **self.ways)
        self.client = ipyparallel.Client(str(hosts.file))
        self.client.wait_for_engines(3, interactive=False)

    def downloads(self) -> int:
        """Count how often the shared folder went over the network."""
        return sum("/zip_download_get/" in request.path for request in self.box.requests)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with (
        sandbox.start(activate=False) as box,
        ipyparallel_cluster(tmp_path_factory.mktemp("ipyparallel")) as hosts,
    ):
        made = Cluster(box, hosts)
        try:
            yield made
        finally:
            made.client.close()


def test_each_host_does_it_once_and_engines_that_join_since_get_it(cluster: Cluster) -> None:
    """Two hosts fetch twice; a third one, and a second engine of another, get the same by `update`."""
    steps = ("dropbox_sync secret:PROJECT proj --once", f"private_pip {cluster.spec}", "env FLAVOUR=sweet")
    result = everywhere(cluster.client, "\n".join([*steps, "run sh -c 'echo once >> ran'"]))
    hosts = [(host.host, host.status, len(host.workers)) for host in result.hosts]
    assert hosts == [("a", "done", 2), ("b", "done", 1)]
    assert cluster.downloads() == 2
    assert cluster.client[:].apply_sync(eval, USE) == [(42, "sweet")] * 3

    for name in "bc":
        cluster.hosts.join(name, 1, **cluster.ways)
    cluster.client.wait_for_engines(5, interactive=False)
    later = [(host.host, host.status, len(host.workers)) for host in result.update().hosts]
    assert later == [("a", "up-to-date", 2), ("b", "up-to-date", 2), ("c", "done", 1)]
    assert cluster.downloads() == 3
    assert cluster.client[:].apply_sync(eval, USE) == [(42, "sweet")] * 5
    ran = [(cluster.hosts.machines[name].work / "ran").read_text() for name in "abc"]
    assert ran == ["once\n"] * 3


class Interrupting(HostsReport):
    """Interrupts when each host has said what process its command is."""

    def __init__(self) -> None:
        self.hosts, self.said = 0, dict[str, str]()

    def begin(self, rows: Sequence[HostResult]) -> None:
        self.hosts = len(rows)

    def output(self, row: HostResult, text: str) -> None:
        self.said[row.host] = self.said.get(row.host, "") + text

    def tick(self) -> None:
        if self.hosts == len(self.said) > 0 and all(text.endswith("\n") for text in self.said.values()):
            raise KeyboardInterrupt


def test_an_interrupt_stops_all_hosts(cluster: Cluster) -> None:
    """Nothing of it works on, and the engines take the next call."""
    report = Interrupting()
    with pytest.raises(Interrupted) as raised:
        everywhere(cluster.client[:], "run sh -c 'echo $$; exec sleep 300'", report=report)
    assert {host.status for host in raised.value.result.hosts} == {"interrupted"}  # type: ignore[attr-defined]
    for text in report.said.values():
        with pytest.raises(ProcessLookupError):
            os.kill(int(text), 0)
    assert len(cluster.client[:].apply_sync(os.getpid)) == 5


def test_a_host_that_fails_is_named_and_its_engines_end(cluster: Cluster) -> None:
    """With its line and step; the others are done."""
    for name in "ac":
        (cluster.hosts.machines[name].work / "good").touch()
    with pytest.raises(StepError) as raised:
        everywhere(cluster.client[:], "run true\nrun test -e good")
    assert str(raised.value).startswith("host b: line 2: run: test -e good failed with status 1")
    result: Any = raised.value.result
    assert [host.status for host in result.hosts] == ["done", "failed", "done"]
    until(lambda: {*map(int, result.hosts[1].workers)}.isdisjoint(cluster.client.ids), "the end of the engines of b")
