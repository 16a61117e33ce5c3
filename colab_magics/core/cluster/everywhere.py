"""A block on every host of a cluster: what is asked before, who does it, what it came to."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import time
import uuid
from collections import ChainMap, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import colab_magics
from colab_magics import masking
from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.lockfile import Lock
from colab_magics.core.blocks.plan import read_plan
from colab_magics.core.cluster import host, sealing
from colab_magics.core.cluster.order import Answer, Engine, Order, Pending
from colab_magics.core.common.files import write_whole
from colab_magics.core.common.results import EverywhereResult, HostResult, StepResult
from colab_magics.core.common.settings import Settings
from colab_magics.core.http import links
from colab_magics.core.secrets import secrets
from colab_magics.errors import Interrupted, LinkError, PlanError, StepError, TokenError

__all__ = ["HostsReport", "everywhere"]

_PATIENCE = 15.0  # seconds that interrupted hosts have to say that they have stopped
_SIGNED = re.compile(
    r"[?&][\w-]*(sig|signature|token|key|password|auth)=", re.IGNORECASE
)  # an address that is a secret
_ENDED = {"done", "up-to-date", "planned"}
#: What stands for an engine, by the package that its clients' classes come from.
_ENGINES = {"distributed": ("dask", "DaskEngine"), "ipyparallel": ("ipyparallel", "IpyparallelEngine")}


class HostsReport:
    """What a front end can be told of a block that runs on hosts; this one listens to nothing."""

    def begin(self, rows: Sequence[HostResult]) -> None:
        """Hear which hosts there are; each row is kept up to date, with the status 'running' until it has ended."""

    def output(self, row: HostResult, text: str) -> None:
        """Hear what a command printed on a host, masked."""

    def ended(self, row: HostResult) -> None:
        """Hear that a host has ended."""

    def say(self, text: str) -> None:
        """Hear what a person is told of all of it."""

    def tick(self) -> None:
        """Show how far the hosts are; called a few times a second."""


def everywhere(
    client: Any,
    block: str,
    *,
    variables: Mapping[str, object] | None = None,
    dry_run: bool = False,
    lock: Path | None = None,
    frozen: Path | None = None,
    send_secrets: bool = False,
    settings: Settings | None = None,
    report: HostsReport | None = None,
) -> EverywhereResult:
    r"""Run a bootstrap block once on every host of a cluster, for all workers there.

    A host is a machine with an interpreter and a working folder. One of its workers does the block and the others wait;
    then each sets what ends with its own process. What the first host used (contents, commits, versions) is what all
    use. On dask, workers that join or restart later do the same before they take work.

    Parameters
    ----------
    client : distributed.Client, ipyparallel.Client, ipyparallel.DirectView, ipyparallel.BroadcastView or str
        Of an engine that runs; a text is the address of dask's scheduler, as ``tcp://host:8786``.
    block : str
        The block's text.
    variables : mapping, optional
        What ``$NAME`` stands for, before each worker's own environment.
    dry_run : bool, optional
        Say what each host would do, and do nothing.
    lock : Path, optional
        A file here to write what was used to.
    frozen : Path, optional
        Such a file: all hosts use exactly that, and fail when it cannot be had.
    send_secrets : bool, optional
        Send a host the secrets that it has not itself, sealed for the worker's process alone, for this call; only over
        TLS or on this machine.
    settings : Settings, optional
        By default read from the environment. The hosts read their own.
    report : HostsReport, optional
        Hears how far the hosts are.

    Returns
    -------
    EverywhereResult

    Raises
    ------
    PlanError
        When the block is wrong, or cannot run on these workers; nothing has run then.
    TokenError
        When a host lacks a secret and it cannot be sent; nothing has run then.
    StepError
        When a host failed: names it, the line and the step. The others were finished. Has the results in its `result`.
        Workers of a host that failed are ended when another host is ready: none goes on without its packages.
    Interrupted
        When it was interrupted; every host has stopped. Has the results in its `result`.

    Examples
    --------
    >>> from colab_magics import core
    >>> core.everywhere("nowhere", "run true")
    Traceback (most recent call last):
    colab_magics.errors.PlanError: 'nowhere' is no engine; give a dask or ipyparallel client, or tcp://HOST:PORT of ...
    """
    settings, report = settings or Settings.load(), report or HostsReport()
    engine = _engine(client)
    try:
        call = _Call(engine, block, dict(variables or {}), settings, report)
        result = call.run(dry_run=dry_run, frozen=frozen, send_secrets=send_secrets)
        if lock and result.lock:
            write_whole(lock, result.lock.encode())
            report.say(f"wrote the lock to {lock}")
    finally:
        engine.close()
    return result


def _engine(client: Any) -> Engine:
    if isinstance(client, str) and re.match(r"(tcp|tls|ws|wss|ucx)://", client):
        names = ["distributed"]
    else:
        names = [kind.__module__.partition(".")[0] for kind in type(client).__mro__]
    for name in names:
        if name in _ENGINES:
            module, kind = _ENGINES[name]
            try:
                found = importlib.import_module(f"colab_magics.core.cluster.{module}")
            except ImportError:
                raise PlanError(f"{name} is not installed here; pip install {name}") from None
            engine: Engine = getattr(found, kind)(client)
            return engine
    shown = repr(client) if isinstance(client, str) else f"a {type(client).__name__}"
    raise PlanError(f"{shown} is no engine; give a dask or ipyparallel client, or tcp://HOST:PORT of dask's scheduler")


@dataclass
class _Host:
    """A host as it is known here: its row, its workers, and the answer of the one that did the block."""

    place: str
    row: HostResult
    environment: str
    workers: dict[str, Answer] = field(default_factory=dict)  # by name, what each said of itself
    answer: Answer | None = None


class _Call:
    """One call of `everywhere`."""

    def __init__(
        self, engine: Engine, block: str, variables: dict[str, object], settings: Settings, report: HostsReport
    ) -> None:
        self.engine, self.block, self.settings, self.report = engine, block, settings, report
        self.hosts: dict[str, _Host] = {}
        self.parcels: dict[str, str] = {}  # what is sent sealed, by worker
        self.began = time.monotonic()
        used = _Used(variables)
        self.plan = read_plan(block, ChainMap(used, dict(os.environ)), settings=settings)
        self._refuse_secrets_in_text()
        given = {name: str(variables[name]) for name in used.names}
        self.secret = {name: text for name, text in given.items() if _is_secret(text, settings)}
        plain = {name: text for name, text in given.items() if name not in self.secret}
        needs = dict.fromkeys(need for step in self.plan.steps for need in verbs.get(step.verb).needs(step))
        self.order = Order(
            uuid.uuid4().hex,
            block,
            colab_magics.__version__,
            variables=plain,
            withheld=tuple(sorted(self.secret)),
            needs=tuple(self._spelled_out(needs)),
            jobs=settings.jobs,
            installer=settings.installer if settings.installer != "auto" else None,
        )

    def run(self, *, dry_run: bool, frozen: Path | None, send_secrets: bool) -> EverywhereResult:
        lock = frozen.read_text("utf-8") if frozen and Lock.read(frozen) else ""
        if self.secret and not send_secrets:
            name = next(iter(self.secret))
            raise TokenError(
                f"${name} holds a secret (a link's key is one), which the scheduler would see; name it as secret:NAME, "
                "which each host finds itself, or add --send-secrets"
            )
        self.order = replace(self.order, dry_run=dry_run, lock=lock, asks_for_key=send_secrets)
        self._find_hosts(self.engine.workers())
        self._refuse_what_needs_a_person()
        hosts = list(self.hosts.values())
        self._settle_secrets(hosts, send=send_secrets)
        self.report.begin([each.row for each in hosts])
        self._work(hosts)
        self._agree()
        for each in self.hosts.values():
            if each.row.status == "running":
                self._end(each)
        return self._concluded()

    def join(self, lock: str) -> EverywhereResult:
        """Do for the workers that there are now what was done before with that lock."""
        self.order = replace(self.order, run=uuid.uuid4().hex, lock=lock, joins=True, asks_for_key=False)
        self.parcels, self.hosts, self.began = {}, {}, time.monotonic()
        self._find_hosts(self.engine.workers())
        self.report.begin([each.row for each in self.hosts.values()])
        self._work(list(self.hosts.values()))
        for each in self.hosts.values():
            self._end(each)
        return self._concluded()

    def _refuse_secrets_in_text(self) -> None:
        for number, line in enumerate(self.block.splitlines(), 1):
            if any(_is_secret(word, self.settings) for word in re.split(r"[\s'\"=]+(?=\w+://)|[\s'\"]+", line)):
                raise TokenError(
                    f"line {number}: a link's key or another secret is here, and the scheduler would see it; name it "
                    "as secret:NAME, which each host finds itself, or put it into a variable and add --send-secrets"
                )

    def _spelled_out(self, needs: Iterable[str]) -> Iterator[str]:
        for need in needs:
            yield from (f"host:{name}" for name in secrets.token_hosts(self.settings)) if need == "host:*" else (need,)

    def _find_hosts(self, workers: list[str]) -> None:
        if not workers:
            raise PlanError("there are no workers yet; start some, and run it again")
        found = self._answers(self.engine.start(host.probe, self.order, workers, {}))
        lost = {worker: str(said["error"]) for worker, said in found.items() if "place" not in said}
        if lost:
            worker, why = next(iter(lost.items()))
            if "colab_magics" in why:
                why = "it cannot import colab_magics; install that where the workers run"
            raise PlanError(f"worker {worker}{_more(len(lost) - 1)}: {why}")
        for worker, said in found.items():
            if "error" in said:
                raise PlanError(f"host {said['host']}: {said['error']}")
            if said["version"] != colab_magics.__version__:
                raise PlanError(
                    f"host {said['host']} has colab-magics {said['version']}, and this is "
                    f"{colab_magics.__version__}; install the same"
                )
            row = HostResult(said["host"], "running")
            each = self.hosts.setdefault(said["place"], _Host(said["place"], row, said["environment"]))
            each.workers[worker] = said
            each.row.workers.append(worker)
        named = defaultdict(list)
        for each in self.hosts.values():
            named[each.row.host].append(each.row)
        for rows in named.values():
            for number, row in enumerate(rows[1:], 2):  # another folder or interpreter of the same machine
                row.host += f" ({number})"
        # By name, so that the first host is the same one the next time.
        self.hosts = dict(sorted(self.hosts.items(), key=lambda item: (item[1].row.host, item[0])))
        self.order = replace(self.order, first=self.order.first or next(iter(self.hosts)))

    def _refuse_what_needs_a_person(self) -> None:
        for step, each in itertools.product(self.plan.steps, self.hosts.values()):
            if verbs.get(step.verb).in_main_thread and (not step.on or each.environment in step.on):
                raise PlanError(
                    f"line {step.line}: {step.verb} needs a notebook's page, and host {each.row.host} has "
                    "none; leave the line out"
                )

    def _settle_secrets(self, hosts: list[_Host], *, send: bool) -> None:
        """See that each host has what it needs, or is sent it."""
        lacking = {
            worker: [need for need in said["lacks"] if need.startswith("secret:") or send]
            for each in hosts
            for worker, said in each.workers.items()
        }
        if not any(lacking.values()) and not self.secret:
            return
        if not send:
            where = next(each for each in hosts if any(lacking[worker] for worker in each.workers))
            name = next(need for worker in where.workers for need in lacking[worker]).partition(":")[2]
            raise TokenError(
                f"host {where.row.host} does not have the secret {name}; put it there (into its token file, or its "
                f"environment as {secrets.NAMED_VARIABLE}{re.sub(r'[^0-9A-Za-z_]', '_', name).upper()}), or add "
                "--send-secrets to send yours"
            )
        if why := self.engine.exposed():
            raise TokenError(f"secrets are not sent: {why} or give each host its own")
        if not sealing.can_seal():
            raise TokenError("secrets are sent sealed, which needs cryptography; pip install cryptography")
        values = {need: self._own(need) for need in dict.fromkeys(itertools.chain(*lacking.values()))}
        for each in hosts:
            for worker, said in each.workers.items():
                if "key" not in said:
                    raise TokenError(
                        f"secrets are sent sealed, and host {each.row.host} lacks cryptography; pip install it there"
                    )
                self.parcels[worker] = sealing.seal(self._parcel(lacking[worker], values), said["key"])

    def _own(self, need: str) -> tuple[str, str | None] | None:
        kind, _, name = need.partition(":")
        if kind == "secret":
            return secrets.named(name, self.settings).reveal(), None
        found = secrets.host_token(name, self.settings)
        return (found.token.reveal(), found.username) if found else None

    def _parcel(self, needs: Iterable[str], values: Mapping[str, tuple[str, str | None] | None]) -> str:
        parcel: dict[str, dict[str, Any]] = {"variables": self.secret, "secrets": {}, "tokens": {}}
        for need in needs:
            kind, _, name = need.partition(":")
            value = values[need]
            if value and kind == "secret":
                parcel["secrets"][name] = value[0]
            elif value:
                parcel["tokens"][name] = value
        return json.dumps(parcel)

    def _work(self, hosts: list[_Host]) -> None:
        """Have the workers of these hosts do the order, and take note of what came of it."""
        workers = [worker for each in hosts for worker in each.workers]
        pending = self.engine.start(host.perform, self.order, workers, self.parcels)
        try:
            found = self._answers(pending)
        except KeyboardInterrupt:
            found = self._stopped(pending)
            self._note(hosts, found)
            for each in hosts:
                if each.row.status == "running":
                    each.row.status = "interrupted"
            done = sum(each.row.status in _ENDED for each in self.hosts.values())
            late = [worker for worker in workers if worker not in found]
            kept = [f"{done} of {len(self.hosts)} hosts are done"] if done else []
            kept += [f"{late[0]}{_more(len(late) - 1)} did not say that it has stopped"] if late else []
            raise Interrupted("; ".join(kept), self._result()) from None
        self._note(hosts, found)

    def _stopped(self, pending: Pending) -> dict[str, Answer]:
        pending.stop()
        ends = time.monotonic() + _PATIENCE
        while time.monotonic() < ends:
            for event in pending.events():
                self._hear(event)
            if (found := pending.answers()) is not None:
                return found
        return {}

    def _answers(self, pending: Pending) -> dict[str, Answer]:
        while True:
            for event in pending.events():
                self._hear(event)
            found = pending.answers()
            if found is not None:
                for event in pending.events():
                    self._hear(event)
                return found
            self.report.tick()

    def _hear(self, event: dict[str, Any]) -> None:
        each = self.hosts.get(str(event.get("place")))
        if each is None or each.row.status != "running":
            return
        each.row.seconds = time.monotonic() - self.began
        if "output" in event:
            self.report.output(each.row, masking.redact(str(event["output"])))
        if "detail" in event:
            each.row.detail = masking.redact(str(event["detail"]))

    def _note(self, hosts: list[_Host], found: Mapping[str, Answer]) -> None:
        for each in hosts:
            said = {worker: found[worker] for worker in each.workers if worker in found}
            whole = [answer for answer in said.values() if "place" in answer]
            did = next((answer for answer in whole if answer["mine"]), None)
            bad = next((answer for answer in whole if answer["status"] not in _ENDED), None)
            each.answer = bad or did or next(iter(whole), None)
            lost = next((worker for worker, answer in said.items() if "place" not in answer), None)
            if each.answer and not (bad is None and lost):
                each.row.seconds = each.answer["seconds"]
                each.row.steps = [StepResult(**step) for step in each.answer["steps"]]
                each.row.detail = masking.redact(each.answer["detail"])
                if bad:
                    self._end(each, bad["status"])
                elif self.order.joins and not did:
                    each.row.seconds, each.row.detail = 0.0, ""
                    self._end(each, "up-to-date")
            else:
                why = (
                    f"worker {lost} ended before it was done: {said[lost].get('error')}"
                    if lost
                    else "no worker answered"
                )
                each.row.detail = masking.redact(why)
                self._end(each, "failed")

    def _end(self, each: _Host, status: str = "") -> None:
        if each.row.status != "running":
            return
        each.row.status = status or (str(each.answer["status"]) if each.answer else "failed")
        self.report.ended(each.row)

    def _agree(self) -> None:
        """Have what the first host used on all: one that used other things does the block again, with that."""
        ready = [each for each in self.hosts.values() if each.answer and each.answer["lock"]]
        if not ready or self.order.lock or self.order.dry_run:
            return
        first = ready[0]
        assert first.answer  # noqa: S101 - as said above
        lock = Lock.parse(first.answer["lock"])
        apart = []
        for each in ready[1:]:
            assert each.answer  # noqa: S101 - as said above
            names = sorted({*first.answer["changed"], *each.answer["changed"]})
            if other := Lock.parse(each.answer["lock"]).differences(lock, names):
                self.report.say(
                    f"{each.row.host} got another {other[0]} than {first.row.host}: it is done again with that"
                )
                apart.append(each)
        if apart:
            self.order = replace(self.order, run=uuid.uuid4().hex, lock=first.answer["lock"])
            if self.order.asks_for_key:  # the keys were of one use
                for each in apart:
                    each.workers |= self._answers(self.engine.start(host.probe, self.order, list(each.workers), {}))
                self._settle_secrets(apart, send=True)
            self._work(apart)

    def _result(self) -> EverywhereResult:
        answers = [each.answer for each in self.hosts.values() if each.answer and each.row.status in _ENDED]
        lock = self.order.lock or next((answer["lock"] for answer in answers if answer["lock"]), "")
        result = EverywhereResult([each.row for each in self.hosts.values()], time.monotonic() - self.began, lock)
        result._again = lambda: self.join(lock)  # noqa: SLF001 - made here
        return result

    def _concluded(self) -> EverywhereResult:
        result = self._result()
        failed = [each for each in self.hosts.values() if each.row.status not in _ENDED]
        if not self.order.dry_run and len(failed) < len(self.hosts):
            if failed:
                self.engine.retire([worker for each in failed for worker in each.workers])
            late = self.engine.keep(replace(self.order, lock=result.lock, joins=True, asks_for_key=False))
            if late:
                self.report.say(f"a worker that joined meanwhile has ended: {masking.redact(late)}")
        if failed:
            raise StepError(_told(failed), result)
        return result


def _told(failed: list[_Host]) -> str:
    """Return what is said of hosts that failed: of those that failed alike, one."""
    alike: dict[str, list[str]] = defaultdict(list)
    for each in failed:
        alike[each.row.detail].append(each.row.host)
    return "\n".join(f"host {hosts[0]}{_more(len(hosts) - 1)}: {why}" for why, hosts in alike.items())


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _is_secret(text: str, settings: Settings) -> bool:
    """Tell whether a text gives access to something: it holds a known secret, a token, or a link that opens."""
    if masking.redact(text) != text or masking.looks_like_token(text):
        return True
    try:
        link = links.parse(text, dropbox_url=settings.dropbox_url) if "://" in text or "dropbox" in text else None
    except TokenError:
        return True
    except LinkError:
        return False
    return link is not None and bool(link.secrets or _SIGNED.search(link.url))


class _Used(dict[str, object]):
    """Variables, and which of them were asked for."""

    def __init__(self, variables: Mapping[str, object]) -> None:
        super().__init__(variables)
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> object:
        value = super().__getitem__(name)
        self.names[name] = None
        return value
