"""What is sent to the workers: a block and how it is to be run. The scheduler sees it, so no secret is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Answer", "Engine", "Event", "Order", "Pending", "Task"]

#: What a worker says while it works: of which host, and a text to show or how far it is.
Event = dict[str, Any]
#: What a worker says at the end, as plain values: each engine carries them in a way of its own.
Answer = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What a worker is to do.

    Attributes
    ----------
    run : str
        Names the call; of the workers of a host one does the work of a call.
    block : str
        The block's text.
    version : str
        Of this package, the same on both sides.
    variables : mapping
        What ``$NAME`` stands for, before the worker's own environment.
    withheld : tuple of str
        The names of further ones, whose values are secret and come sealed.
    needs : tuple of str
        The secrets that its steps may ask for: ``secret:NAME``, or ``host:NAME`` of the token of a git host.
    asks_for_key : bool
        Whether a worker makes a key, as it will be sent secrets.
    first : str
        The first host, as `host.place` calls it.
    lock : str
        A lock to hold to; empty: whatever is found.
    joins : bool
        Whether a host that has done this block before, by this lock, has done it.
    dry_run : bool
        Say what would happen and change nothing.
    jobs, installer
        The settings that the call gives; None leaves them to the host.
    """

    run: str
    block: str
    version: str
    variables: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    asks_for_key: bool = False
    first: str = ""
    lock: str = field(default="", repr=False)
    joins: bool = False
    dry_run: bool = False
    jobs: int | None = None
    installer: str | None = None

    @property
    def digest(self) -> str:
        """What the block is known by, on all hosts."""
        known = [self.block, sorted(self.variables.items()), self.withheld, self.dry_run]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


#: What a worker does: with an order, something to tell events to, and what was sealed for it.
Task = Callable[[Order, Callable[[Event], None], str], Answer]


class Pending(Protocol):
    """Workers that work."""

    def events(self) -> Iterator[Event]:
        """Yield what they have said since the last call; waits a moment when there is nothing."""

    def answers(self) -> dict[str, Answer] | None:
        """Return what each came to, by the worker's name; None while one works. ``{"error": ...}`` when it is lost."""

    def stop(self) -> None:
        """Tell all of them to stop."""


class Engine(Protocol):
    """What carries an order to workers and answers back."""

    def workers(self) -> list[str]:
        """List the workers that there are, in the engine's order."""

    def start(self, task: Task, order: Order, workers: list[str], parcels: Mapping[str, str]) -> Pending:
        """Have each of these workers call `task`; what is sent sealed, by worker, is for it alone."""

    def exposed(self) -> str:
        """Say why no secret may go over the engine's connections; empty when it may."""

    def keep(self, order: Order) -> str:
        """Have workers that join later do this before they take work, where the engine can; return what failed."""

    def retire(self, workers: list[str]) -> None:
        """End workers, so that they take no work."""

    def close(self) -> None:
        """Give up a connection that was made for the call."""
