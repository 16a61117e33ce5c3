"""Secrets on the way to hosts that have none: where they must not be, proved on real processes."""

from __future__ import annotations

import os
import re
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from clusters import dask_cluster, dates_read, holds, ipyparallel_cluster

from colab_magics import sandbox
from colab_magics.core import everywhere
from colab_magics.core.cluster import sealing
from colab_magics.errors import TokenError
from colab_magics.sandbox.watch import Watch, find_secret

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (the extra dask)")
with dates_read():
    ipyparallel = pytest.importorskip("ipyparallel", reason="ipyparallel is not installed (the extra of that name)")

pytest.importorskip("cryptography", reason="cryptography is not installed (with the extras dask and ipyparallel it is)")
from colab_magics.core.cluster.dask import _is_safe  # noqa: E402 - it needs distributed

pytestmark = pytest.mark.xdist_group("dask")  # a process may have only so many clusters beside it

KEY = "key-1f0c9b7e5d3a48621f0c9b7e"
SEEN = "__import__('os').environ.get('FLAVOUR') == 'key-' + '1f0c9b7e5d3a48621f0c9b7e'"


@pytest.fixture
def mine(box: sandbox.Sandbox) -> sandbox.Sandbox:
    """The sandbox, whose token file only the caller has: a link, a key, and the token of the git host."""
    (box.folder("proj") / "a.txt").write_text("a" * 1000)
    box.add_secret("PROJECT", box.folder_link("proj"))
    box.add_secret("KEY", KEY)
    return box


def secrets_of(box: sandbox.Sandbox) -> list[str]:
    """Return all that must not be seen."""
    link = box.folder_link(box.folder("proj"))
    return [box.token, KEY, link, re.findall(r"rlkey=(\w+)", link)[0]]


def block(box: sandbox.Sandbox) -> str:
    spec = box.private_repo("acme/secretlib", code="def answer(): return 42\n").spec
    return f"dropbox_sync secret:PROJECT proj\nprivate_pip {spec}\nenv FLAVOUR=secret:KEY\n"


def pages(address: str) -> str:
    """Return all that the scheduler shows by HTTP, page by page."""
    found, seen = [], set[str]()
    with urllib.request.urlopen(f"{address}/sitemap.json") as answer:
        paths = re.findall(r'"(/[^"]*)"', answer.read().decode())
    todo = [
        "/info/main/workers.html",
        "/info/logs.html",
        "/json/counts.json",
        "/json/identity.json",
        "/json/index.html",
    ]
    for path in [*todo, *paths]:
        if path in seen or "*" in path or "(" in path:
            continue
        seen.add(path)
        try:
            with urllib.request.urlopen(f"{address}{path}", timeout=5) as answer:
                found.append(answer.read().decode("utf-8", "replace"))
        except OSError:
            continue
    assert len(found) >= 3
    return "\n".join(found)


def test_dask_passes_secrets_that_nobody_sees(mine: sandbox.Sandbox, tmp_path: Path) -> None:
    """Not in any process's arguments or environment, the scheduler's memory, state and pages, a log, or a file."""
    with ExitStack() as stack:
        hosts = stack.enter_context(dask_cluster(tmp_path))
        hosts.join("a", 1, COLAB_MAGICS_DROPBOX_URL=mine.dropbox_url)
        client = stack.enter_context(distributed.Client(hosts.address, set_as_default=False))
        client.wait_for_workers(1)
        text = block(mine)
        with pytest.raises(TokenError, match=r"^host a does not have the secret PROJECT; put it there [^\n]*$"):
            everywhere(client, text)
        watches = [stack.enter_context(Watch(secret)) for secret in secrets_of(mine)]
        result = everywhere(client, text, send_secrets=True)
        assert [host.status for host in result.hosts] == ["done"]
        assert set(client.run(eval, SEEN).values()) == {True}
        [scheduler] = hosts.scheduler.processes
        dump = tmp_path / "dump"
        client.dump_cluster_state(str(dump), format="yaml")
        shown = (tmp_path / "dump.yaml").read_text() + repr(client.get_events()) + repr(client.get_worker_logs())
        shown += pages(client.dashboard_link.removesuffix("/status"))
        assert holds(os.getpid(), mine.token)  # it finds one where it is
        for secret in secrets_of(mine):
            assert secret not in shown
            assert not holds(scheduler.pid, secret)
            for place in (tmp_path, Path.home()):
                assert find_secret(secret, place) == []
            assert secret not in result.lock + repr(result.hosts)
        assert [watch.found for watch in watches] == [[]] * len(watches)

        # It was for that call: a worker that restarts has no key any more, and ends with its nanny.
        for pid in client.run(os.getpid).values():
            os.kill(pid, 9)
        assert hosts.machines["a"].processes[0].wait(60) is not None
        assert "the secret KEY was not found" in hosts.machines["a"].log.read_text()


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("tls://10.0.0.1:8786", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://[::1]:8786", True),
        ("inproc://10.0.0.1/1/1", True),
        ("tcp://10.0.0.1:8786", False),
        ("ucx://10.0.0.1:8786", False),
    ],
)
def test_which_connections_a_secret_may_go_over(address: str, safe: bool) -> None:
    """TLS, and those that do not leave this machine."""
    assert _is_safe(address) is safe


def test_what_is_sealed_opens_for_one_key_and_only_whole() -> None:
    """Another process's key, or one bit that was changed, opens nothing."""
    key, other = sealing.new_key(), sealing.new_key()
    sealed = sealing.seal("the value itself", sealing.public(key))
    assert sealing.opened(sealed, key) == "the value itself"
    assert b"the value".hex() not in sealed
    changed = sealed[:-1] + ("0" if sealed[-1] != "0" else "1")
    for text, opener in ((sealed, other), (changed, key)):
        with pytest.raises(ValueError, match="sealed for another key, or changed"):
            sealing.opened(text, opener)


def test_ipyparallel_passes_secrets_that_nobody_sees(mine: sandbox.Sandbox, tmp_path: Path) -> None:
    """A link that is in a variable, too: the controller, which keeps what it passes on, never has it."""
    with ExitStack() as stack:
        hosts = stack.enter_context(ipyparallel_cluster(tmp_path, "--IPController.enable_curve=True", "--dictdb"))
        hosts.join("a", 1, COLAB_MAGICS_DROPBOX_URL=mine.dropbox_url)
        client = ipyparallel.Client(str(hosts.file))
        stack.callback(client.close)
        client.wait_for_engines(1, interactive=False)
        text = block(mine).replace("secret:PROJECT", "$LINK")
        variables = {"LINK": mine.folder_link(mine.folder("proj")), "other": 1}
        with pytest.raises(TokenError, match=r"^\$LINK holds a secret [^\n]*--send-secrets$"):
            everywhere(client, text, variables=variables)
        with pytest.raises(TokenError, match=r"^line 1: a link's key or another secret is here[^\n]*$"):
            everywhere(client, f"dropbox_sync {variables['LINK']} proj")
        watches = [stack.enter_context(Watch(secret)) for secret in secrets_of(mine)]
        result = everywhere(client, text, variables=variables, send_secrets=True)
        assert client[:].apply_sync(eval, SEEN) == [True]
        for secret in secrets_of(mine):
            assert not holds(hosts.controller.processes[0].pid, secret)
            assert find_secret(secret, tmp_path) == []
            assert secret not in result.lock + repr(result.hosts)
        assert [watch.found for watch in watches] == [[]] * len(watches)
