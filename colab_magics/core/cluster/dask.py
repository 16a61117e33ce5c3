"""dask.distributed carries an order: `Client.run` now, a worker plugin for those that come later.

What passes the scheduler is an `Order`, and what workers say: as events of a topic, masked where they were said.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from distributed import Client, Status, WorkerPlugin

from colab_magics.core.cluster import host
from colab_magics.core.cluster.order import Answer, Event, Order, Task
from colab_magics.core.common.addresses import is_loopback
from colab_magics.errors import PlanError

__all__ = ["DaskEngine"]

_TICK = 0.1  # seconds
_GROUP = 32  # workers
_HEARTBEAT = 15  # seconds
_CONNECT = 10  # seconds to wait for a scheduler


class DaskEngine:
    """See `colab_magics.core.cluster.order.Engine`.

    Parameters
    ----------
    client : distributed.Client or str
        A text is the scheduler's address: a connection is made for the call.
    """

    def __init__(self, client: Client | str) -> None:
        self.client: Any = client
        self._ours = isinstance(client, str)
        try:
            if self._ours:
                self.client = Client(client, timeout=_CONNECT, set_as_default=False)
        except (OSError, TimeoutError, asyncio.TimeoutError):
            raise PlanError(f"no scheduler answers at {client}; start one, or correct the address") from None
        if self.client.asynchronous:
            raise PlanError("this dask client is an asynchronous one; make one with asynchronous=False")

    def workers(self) -> list[str]:
        try:
            info = self.client.scheduler_info(n_workers=-1)  # some versions tell of five unless asked
        except TypeError:
            info = self.client.scheduler_info()
        # What has not started yet answers nothing, and does what it is to do when it starts; see `_Join`.
        return [address for address, each in info["workers"].items() if each["status"] in {"running", "paused"}]

    def start(self, task: Task, order: Order, workers: list[str], parcels: Mapping[str, str]) -> _Running:
        return _Running(self.client, task, order, workers, parcels)

    def exposed(self) -> str:
        addresses = [self.client.scheduler.address, *self.workers()]
        open_ones = [address for address in addresses if not _is_safe(address)]
        if not open_ones:
            return ""
        return f"the connection to {open_ones[0]} is neither TLS nor on this machine; start the scheduler as tls://,"

    def keep(self, order: Order) -> str:
        try:
            self.client.register_plugin(_Join(order), name=f"colab_magics-{order.digest}")
        except RuntimeError as error:  # of `_Join`, for a worker that has joined since the workers were asked for
            return str(error)
        return ""

    def retire(self, workers: list[str]) -> None:
        self.client.retire_workers(workers, close_workers=True, remove=True)

    def close(self) -> None:
        if self._ours:
            self.client.close()


def _is_safe(address: str) -> bool:
    kind, _, rest = address.partition("://")
    return kind in {"tls", "wss", "inproc"} or is_loopback(re.sub(r"^\[(.*)\]", r"\1", rest))


class _Running:
    """See `colab_magics.core.cluster.order.Pending`."""

    def __init__(
        self, client: Client, task: Task, order: Order, workers: list[str], parcels: Mapping[str, str]
    ) -> None:
        self._client, self._order, self._workers = client, order, workers
        self._heard: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._found: dict[str, Answer] = {}
        self._topic = f"colab_magics-{order.run}"
        client.subscribe_topic(self._topic, lambda event: self._heard.put(event[1]))
        # One call for all; but parcels go to few at a time, as each worker of a call gets all that it carries.
        size = _GROUP if parcels else len(workers)
        groups = [workers[at : at + size] for at in range(0, len(workers), size)]
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(task, group, {worker: parcels[worker] for worker in group if worker in parcels}),
                daemon=True,
            )
            for group in groups
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, task: Task, workers: list[str], parcels: dict[str, str]) -> None:
        try:
            said = self._client.run(_perform, task, self._order, parcels, workers=workers, on_error="return")
            self._found |= {worker: _plain(said.get(worker)) for worker in workers}
        except Exception as error:  # noqa: BLE001 - it is of the connection; whoever waits is told
            self._found |= dict.fromkeys(workers, _plain(error))

    def events(self) -> Iterator[Event]:
        with contextlib.suppress(queue.Empty):
            yield self._heard.get(timeout=_TICK if any(thread.is_alive() for thread in self._threads) else 0)
            while True:
                yield self._heard.get_nowait()

    def answers(self) -> dict[str, Answer] | None:
        if any(thread.is_alive() for thread in self._threads):
            return None
        with contextlib.suppress(Exception):  # the connection may be lost
            self._client.unsubscribe_topic(self._topic)
        return self._found

    def stop(self) -> None:
        self._client.run(host.stop, self._order.run, workers=self._workers, on_error="ignore")


def _plain(said: object) -> Answer:
    if isinstance(said, dict):
        return said
    return {"error": f"{type(said).__name__}: {said}" if said is not None else "it has gone"}


async def _perform(task: Task, order: Order, parcels: Mapping[str, str], dask_worker: Any) -> Answer:
    """Do an order in a thread of a worker, which goes on answering meanwhile."""
    topic = f"colab_magics-{order.run}"
    parcel = parcels.get(dask_worker.address, "")
    return await asyncio.to_thread(task, order, lambda event: dask_worker.log_event(topic, event), parcel)


# Of several blocks the first comes first: the plugins of a worker begin side by side.
_turns: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()


class _Join(WorkerPlugin):  # type: ignore[misc]  # of a package without types
    """Does a block for a worker before it takes work; a worker for which it fails ends, and its nanny too.

    The scheduler keeps it for workers that join or restart, so it holds no secret.
    """

    def __init__(self, order: Order) -> None:
        self.order = order

    async def setup(self, worker: Any) -> None:
        # A worker runs already when its plugins begin (distributed's `Worker._register_with_scheduler`). In this state
        # it begins no task and is given none; unlike a paused one it stays so, however much memory is free.
        if worker.status == Status.running:
            worker.status = Status.closing_gracefully
        async with _turns.setdefault(worker, asyncio.Lock()):
            work = asyncio.ensure_future(asyncio.to_thread(host.perform, self.order, lambda _: None))
            while not (await asyncio.wait({work}, timeout=_HEARTBEAT))[0]:
                await worker.heartbeat()  # else the scheduler takes a worker for lost that works long on its start
        said = work.result()
        if said["status"] in {"done", "up-to-date"}:
            if worker.status == Status.closing_gracefully:
                worker.status = Status.running
            return
        why = f"colab_magics: {socket.gethostname()} is without what it needs: {said['detail']}"
        worker.log_event("colab_magics", why)
        # Not waited for: the nanny listens only when the worker has started.
        worker.loop.add_callback(worker.close, nanny=True, reason=why)
        raise RuntimeError(why)
