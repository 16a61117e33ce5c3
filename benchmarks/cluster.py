"""A block on three hosts of a dask cluster against the same on one; beside it dask's own `PipInstall`; and 1,000 hosts.

Run it as ``python benchmarks/cluster.py [ROUNDS]`` (0 measures no time); it needs the extra ``dask``, git and pip. The
hosts are on this machine: real processes, each host with a name, a folder and an interpreter of its own, and a link of
its own to the services (`link.py`, so many bytes a second for each connection). What is printed is: medians of wall
seconds; whether a token is found with `PipInstall` and with us, and how many workers take work after a failed
installation; and what 1,000 hosts mean for those who serve them, reckoned from what was counted here.
"""

from __future__ import annotations

import os
import pickle
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from clusters import Dask, dask_cluster, holds, until
from distributed import Client, PipInstall
from link import link

from colab_magics import sandbox
from colab_magics.core import everywhere
from colab_magics.core.cluster.order import Order
from colab_magics.errors import StepError

SIZE, RATE = 40, 8.0  # MB of the dataset, MB/s of a host's link
HOSTS = 1000
DATASET = 10.0  # GB, of the reckoning


def measure(box: sandbox.Sandbox, hosts: Dask, names: str, rounds: int, ways: dict[str, str], spec: str) -> list[float]:
    """Return the seconds of each round on hosts of these names."""
    for name in names:
        hosts.join(name, 2, **ways)
    times = []
    with Client(hosts.address, set_as_default=False) as client:
        client.wait_for_workers(2 * len(names))
        for number in range(rounds):
            box.clear_requests()
            began = time.perf_counter()
            everywhere(client, f"dropbox_sync secret:DATA data{number}\nprivate_pip {spec} --force\nrun true")
            times.append(time.perf_counter() - began)
            fetched = sum("/zip_download_get/" in request.path for request in box.requests)
            assert fetched == len(names), fetched
    return times


def traces(hosts: Dask, client: Client, token: str) -> dict[str, bool]:
    """Tell where a token is found."""
    dump = hosts.folder / "dump"
    client.dump_cluster_state(str(dump), format="yaml")
    events = repr(client.get_events())
    logs = [machine.log.read_text() for machine in hosts.machines.values()]
    return {
        "the scheduler's memory": holds(hosts.scheduler.processes[0].pid, token),
        "its log": token in hosts.scheduler.log.read_text(),
        "its state": token in Path(f"{dump}.yaml").read_text() + events,
        "a worker's log": any(token in log for log in logs),
    }


def compare(folder: Path, ours: bool) -> None:
    """Install a private package, then one that is not there, on two hosts."""
    with sandbox.start(activate=False) as box, dask_cluster(folder) as hosts:
        repo = box.private_repo("acme/secretlib", code="def answer(): return 42\n")
        ways = {"COLAB_MAGICS_TOKEN_FILE": str(box.token_file), "PIP_NO_INDEX": "1"}
        for name in "ab":
            hosts.join(name, 2, **ways)
        with Client(hosts.address, set_as_default=False) as client:
            client.wait_for_workers(4)
            bad = box.private_repo("acme/broken", {"pyproject.toml": "[build-system]\nrequires = ['nowhere']\n"})
            if ours:
                everywhere(client, f"private_pip {repo.spec}")
            else:
                client.register_plugin(PipInstall([with_token(repo.url, box.token)]))
            found = traces(hosts, client, box.token)
            (hosts.machines["a"].work / "good").touch()
            try:
                if ours:
                    everywhere(client, f"private_pip {repo.spec}\nrun test -e good")
                else:
                    client.register_plugin(PipInstall([with_token(bad.url, box.token)]), name="bad")
            except (StepError, RuntimeError) as error:
                print(f"  the failure is told: {str(error).splitlines()[0][:90].replace(box.token, 'TOKEN')}")
            until(lambda: not ours or len(client.nthreads()) == 2)
            alive = client.run(os.getpid, on_error="ignore")
        print(
            f"  token found in: {', '.join(where for where, is_there in found.items() if is_there) or 'none of them'}"
        )
        print(f"  workers that take work after a failed installation on a host of two: {len(alive)} of 4")


def with_token(url: str, token: str) -> str:
    """Return an address as the documentation of `PipInstall` writes it."""
    return "git+" + url.replace("://", f"://x-access-token:{token}@")


def reckon(asked_git: int, answer: int) -> None:
    """Print what a block with a dataset and a private package means for whoever serves it."""
    order = len(pickle.dumps(Order("0" * 32, "x" * 400, "0.1.0", first="0" * 32)))
    whole = DATASET * HOSTS
    print(f"{HOSTS} hosts with 2 workers each, a dataset of {DATASET:g} GB, a private package; reckoned")
    print(f"  the link's owner: {2 * HOSTS} requests, {whole:,.0f} GB a run (Dropbox lets 20 GB a day pass for a free")
    print(f"    account, 1,000 to 4,000 for a paid one); with a mirror on the first host 2 and {DATASET:g} GB")
    print(f"  the git host: {asked_git * HOSTS:,} requests; with a mirror {asked_git}")
    print(f"  the scheduler: {2 * HOSTS * order / 1e6:.1f} MB of orders, {2 * HOSTS * answer / 1e6:.0f} MB of answers,")
    print(f"    at most {4 * HOSTS:,} events a second of about 150 bytes each while they work")
    for rate in (0.125, 1.25):
        alone, tree = whole / rate / 3600, 10 * 3 * DATASET / rate / 3600  # a tree has three levels, ten at a time
        print(f"  from a mirror with {8 * rate:g} Gbit/s: {alone:.1f} h; from hosts as a tree of ten: {tree:.1f} h")


def main() -> None:
    """Measure, compare, reckon."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        folder, medians = Path(name), list[float]()
        asked = 0
        for names in ("a", "abc") if rounds else ():
            with sandbox.start(activate=False) as box:
                (box.folder("data") / "part.bin").write_bytes(os.urandom(SIZE << 20))
                port = int(box.dropbox_url.rpartition(":")[2])
                dropbox = box._dropbox  # noqa: SLF001 - it is told where its content is fetched from
                content = int(dropbox.content_address.rpartition(":")[2])
                with link([port, content], each=RATE) as through:
                    dropbox.content_address = dropbox.content_address.replace(str(content), str(through[1]))
                    box.add_secret("DATA", box.folder_link("data"))
                    spec = box.private_repo("acme/secretlib").spec
                    ways = {
                        "COLAB_MAGICS_DROPBOX_URL": box.dropbox_url,
                        "COLAB_MAGICS_TOKEN_FILE": str(box.token_file),
                    }
                    with dask_cluster(folder / names) as hosts:
                        times = measure(box, hosts, names, rounds, ways, spec)
                asked = sum(request.path.startswith("/acme/") for request in box.requests) // len(names)
            medians.append(statistics.median(times))
            print(f"{len(names)} host(s): {medians[-1]:.2f} s (of {', '.join(f'{each:.2f}' for each in times)})")
        if medians:
            print(f"three hosts take {medians[1] / medians[0]:.2f} times as long as one")
        for ours in (False, True):
            print("colab_magics" if ours else "dask's PipInstall")
            compare(folder / f"{ours}", ours)
        reckon(asked, 6000)


if __name__ == "__main__":
    main()
