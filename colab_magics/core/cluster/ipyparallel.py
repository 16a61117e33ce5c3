"""ipyparallel carries an order: `DirectView.apply_async` on the engines there are.

What an engine says while it works comes as lines of its standard output, each a JSON text, masked where it was said.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from colab_magics.core.cluster.order import Answer, Event, Order, Task
from colab_magics.core.common.addresses import is_loopback

__all__ = ["IpyparallelEngine"]

_TICK = 0.1  # seconds
_MARK = "colab_magics:"


class IpyparallelEngine:
    """See `colab_magics.core.cluster.order.Engine`.

    Parameters
    ----------
    client : ipyparallel.Client, ipyparallel.DirectView or ipyparallel.BroadcastView
        A view's own engines, or all there are.
    """

    def __init__(self, client: Any) -> None:
        self.client = getattr(client, "client", client)
        self._view = client if client is not self.client else None

    def workers(self) -> list[str]:
        there = list(self.client.ids)
        targets = self._view.targets if self._view is not None else "all"
        if targets != "all" and targets is not None:
            wanted = [targets] if isinstance(targets, int) else list(targets)
            there = [number for number in there if number in wanted]
        return [str(number) for number in there]

    def start(self, task: Task, order: Order, workers: list[str], parcels: Mapping[str, str]) -> _Running:
        return _Running(self.client, task, order, workers, parcels)

    def exposed(self) -> str:
        config = self.client._config  # noqa: SLF001 - what the connection file says; there is no other way to ask
        if config.get("curve_serverkey") or is_loopback(config["interface"].partition("://")[2]):
            return ""
        return f"the connection to {config['interface']} is not encrypted; start the controller with enable_curve,"

    def keep(self, order: Order) -> str:  # noqa: ARG002 - as `Engine` has it
        """Do nothing: no engine is told of another that joins; `EverywhereResult.update` is for those."""
        return ""

    def retire(self, workers: list[str]) -> None:
        self.client.shutdown(targets=[int(worker) for worker in workers], hub=False, block=True)

    def close(self) -> None:
        """Do nothing: the connection is the caller's."""


class _Running:
    """See `colab_magics.core.cluster.order.Pending`."""

    def __init__(self, client: Any, task: Task, order: Order, workers: list[str], parcels: Mapping[str, str]) -> None:
        self._client, self._workers = client, workers
        self._results = {
            worker: client[int(worker)].apply_async(_perform, task, order, parcels.get(worker, ""))
            for worker in workers
        }
        self._heard = dict.fromkeys(workers, 0)

    def events(self) -> Iterator[Event]:
        for worker, result in self._results.items():
            text = result.stdout or ""
            text = text if isinstance(text, str) else "".join(text)
            end = text.rfind("\n") + 1
            new, self._heard[worker] = text[self._heard[worker] : end], max(end, self._heard[worker])
            for line in new.splitlines():
                if line.startswith(_MARK):
                    yield json.loads(line.removeprefix(_MARK))

    def answers(self) -> dict[str, Answer] | None:
        waits = next((result for result in self._results.values() if not result.ready()), None)
        if waits is not None:
            waits.wait(_TICK)
            return None
        return {worker: _plain(result) for worker, result in self._results.items()}

    def stop(self) -> None:
        left = [worker for worker, result in self._results.items() if not result.ready()]
        for worker in left:  # what waits in an engine's queue does not begin; a busy engine hears that late
            self._client.abort(self._results[worker].msg_ids, targets=[int(worker)], block=False)
        self._client.send_signal(signal.SIGINT, targets=[int(worker) for worker in left], block=False)


def _plain(result: Any) -> Answer:
    try:
        return dict(result.get())
    except Exception as error:  # noqa: BLE001 - of the engine or on it, whatever it is
        return {"error": f"{type(error).__name__}: {error}"}


def _perform(task: Task, order: Order, parcel: str) -> Answer:
    """Do an order in an engine's main thread, where an interrupt comes."""

    def emit(event: Event) -> None:
        sys.stdout.write(f"{_MARK}{json.dumps(event)}\n")
        sys.stdout.flush()

    return task(order, emit, parcel)
