"""Contents that come over several connections at once: each its own, and of a large one the missing stretches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from colab_magics.core.common import cancellation
from colab_magics.core.common.progress import Progress
from colab_magics.core.http.body import Response
from colab_magics.core.http.client import retrying
from colab_magics.core.http.partial import ALIGNED, OtherContentError, Part, Stretch
from colab_magics.core.http.responses import RetryError
from colab_magics.errors import ColabMagicsError

__all__ = ["AT_ONCE", "Content", "fetch"]

#: Connections to one server.
AT_ONCE = 8

_LOOK = 0.5  # seconds in which a rate is measured
_WORTH = 2.0  # seconds that one connection must still take, for others to help it
_GAIN = 1.2  # times as much must come over all of them
_WAIT = 0.1  # seconds between two looks at whether there is something to do


@dataclass(eq=False)
class Content:
    """A content that is to come.

    Attributes
    ----------
    shown : str
        What messages call it.
    part : Part
        What is there of it.
    ask : callable
        Sends a request with the headers it is given; returns the response, or raises RetryError or what it means.
    came : callable
        Is told of the bytes of each piece, before it is written.
    whole : callable
        Is called when all of it is there, in one of the threads.
    restarts : callable
        Is called when what is there turns out to be of no use, before it comes anew.
    first : Response or None
        An answer that is here already, of the whole content.
    most : int
        The connections that it may come over.
    """

    shown: str
    part: Part
    ask: Callable[[dict[str, str]], Response]
    came: Callable[[int], object]
    whole: Callable[[], object] = lambda: None
    restarts: Callable[[], object] = lambda: None
    first: Response | None = None
    most: int = AT_ONCE
    knows_ranges: bool = field(default=False, init=False)

    @property
    def held(self) -> list[Stretch]:
        """The stretches that connections are busy with."""
        return [stretch for stretch in self.part.stretches if stretch.is_held]


def fetch(contents: Iterable[Content], progress: Progress, *, grows: bool = False) -> None:
    """Let contents come.

    Parameters
    ----------
    contents : iterable of Content
        They.
    progress : Progress
        Hears why something is asked for again.
    grows : bool, optional
        For a single content of a server of which nothing is known: begin with one connection, and keep more only if
        more comes over them.

    Raises
    ------
    TransferError
        When one does not come. What came is there for the next run.
    """
    run = _Fetch(contents, progress, grows=grows)
    try:
        cancellation.for_each(run.work, range(run.most), at_once=run.most, name="fetch")
    finally:
        for content in run.going:
            content.part.close()


class _AsideError(Exception):
    """The server does not want this connection, but others go on."""


class _Fetch:
    def __init__(self, contents: Iterable[Content], progress: Progress, *, grows: bool) -> None:
        self._fresh, self.going, self._progress = deque(contents), list[Content](), progress
        self._unfinished, self._changed = len(self._fresh), threading.Condition()
        self.most = min(AT_ONCE, sum(content.most for content in self._fresh))
        self._rates = _Rates(self._fresh[0]) if grows and self.most > 1 else None
        self._allowed = 1 if self._rates else self.most
        self._not_before = 0.0  # a server asked to wait until then; all connections do

    def work(self, number: int) -> None:
        """Fetch, with the connection of that number, until nothing is left to be done."""
        while self._unfinished:
            with self._changed:
                taken = self._taken() if number < self._allowed else None
                if taken is None:
                    self._changed.wait(_WAIT)
            cancellation.check()
            if taken is not None:
                self._fetch(number, *taken)
            else:
                self._look(0)

    def _taken(self) -> tuple[Content, Stretch] | None:
        """Return what a free connection does: what nobody does, else the half of what another one has to do."""
        open_to_more = [content for content in self.going if len(content.held) < content.most]
        for content in open_to_more:
            for stretch in content.part.stretches:
                if not stretch.is_held and stretch.left:
                    return self._hold(content, stretch)
        while self._fresh:
            content = self._fresh.popleft()
            self.going.append(content)
            if any(stretch.left for stretch in content.part.stretches):
                return self._taken()
            self._finish(content)
        # Whether a server knows ranges is asked on one connection first.
        ready = [each for each in open_to_more if each.knows_ranges or len(each.held) == 1]
        busy = [(stretch.left, content, stretch) for content in ready for stretch in content.held if stretch.is_begun]
        for _, content, stretch in sorted(busy, key=lambda each: -each[0])[:1]:
            if made := content.part.split(stretch, ALIGNED):
                return self._hold(content, made)
        return None

    def _hold(self, content: Content, stretch: Stretch) -> tuple[Content, Stretch]:
        stretch.is_held = True
        return content, stretch

    def _fetch(self, number: int, content: Content, stretch: Stretch) -> None:
        try:
            retrying(content.shown, lambda: self._attempt(number, content, stretch), self._progress)
        except _AsideError:
            pass
        finally:
            with self._changed:
                stretch.is_held = False
                is_whole = content in self.going and not content.held and content.part.is_whole
                if is_whole:
                    self.going.remove(content)
                self._changed.notify_all()
        if is_whole:
            self._finish(content)

    def _finish(self, content: Content) -> None:
        content.part.close()
        content.whole()
        with self._changed:
            if content in self.going:
                self.going.remove(content)
            self._unfinished -= 1
            self._changed.notify_all()

    def _attempt(self, number: int, content: Content, stretch: Stretch) -> None:
        part = content.part
        while stretch.left:
            with self._opened(content, stretch) as response:
                for piece in response:
                    if not self._take(content, stretch, piece) or number >= self._allowed:
                        return
                if part.total is None:
                    part.ends(stretch)
            if stretch.at < min(stretch.asked, stretch.end):
                raise RetryError(f"the connection ended after {stretch.at} of {part.total} bytes")

    def _take(self, content: Content, stretch: Stretch, piece: bytes) -> bool:
        """Write a piece; return whether what follows in the response is wanted too."""
        part = content.part
        while piece:
            fresh = piece[: stretch.left]
            if not fresh:
                raise RetryError("more comes than was said")
            content.came(len(fresh))
            part.write(stretch, fresh)
            self._look(len(fresh))
            piece = piece[len(fresh) :]
            with self._changed:
                if not stretch.left and stretch.end < stretch.asked and not part.join(stretch):
                    return False  # the rest comes over another connection
        return True

    def _opened(self, content: Content, stretch: Stretch) -> Response:
        """Return a response that goes on where a stretch ends, or raise what is to be done."""
        if content.first is not None:
            response, content.first = content.first, None
            response.adopt()
            stretch.is_begun = True
            return response
        if (ahead := self._not_before - time.monotonic()) > 0:
            cancellation.sleep(ahead)
        with self._changed:
            headers, stretch.asked = content.part.headers(stretch), stretch.end
        try:
            response = content.ask(headers)
        except (RetryError, ColabMagicsError) as error:
            if isinstance(error, RetryError) and error.wait is not None:
                self._not_before = max(self._not_before, time.monotonic() + error.wait)
            self._step_aside(content, stretch, keep=True)
            raise
        try:
            self._check(content, stretch, headers, response)
        except BaseException:
            response.close()
            raise
        return response

    def _check(self, content: Content, stretch: Stretch, headers: dict[str, str], response: Response) -> None:
        part = content.part
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            with self._changed:
                if stretch not in part.stretches:  # another connection was quicker
                    raise _AsideError
                if part.fits(stretch, response.headers, response.answer):
                    stretch.is_begun = content.knows_ranges = True
                    self._changed.notify_all()
                    return
            self._step_aside(content, stretch)
            part.answer = None  # the next try starts over
            raise RetryError("the content changed between two tries")
        if headers:
            self._step_aside(content, stretch)
        if part.is_other(response.answer):
            raise OtherContentError(f"{content.shown} is not what was listed, or changed meanwhile; run it again")
        if part.size:
            content.restarts()
        with self._changed:
            only = part.start_over(response.answer)
            # The stretch that this connection holds becomes the only one.
            stretch.start = stretch.at = only.start
            stretch.end, stretch.asked, stretch.counted = only.end, only.asked, only.counted
            stretch.is_begun, part.stretches = True, [stretch]

    def _step_aside(self, content: Content, stretch: Stretch, *, keep: bool = False) -> None:
        """Leave a content to the connections that it comes over already, if there are any: all of them, or one."""
        with self._changed:
            is_mine = stretch in content.part.stretches
            others = len(content.held) - is_mine
            content.most = max(1, others) if keep else 1
            if others or not is_mine:
                raise _AsideError

    def _look(self, count: int) -> None:
        """Decide how many connections there are, from what comes over them."""
        if self._rates is not None:
            with self._changed:
                allowed = self._rates.allowed(count, self.most)
                if allowed != self._allowed:
                    self._allowed = allowed
                    self._changed.notify_all()


class _Rates:
    """What came of a content over one connection, and what comes over several.

    Parameters
    ----------
    content : Content
        It.
    """

    def __init__(self, content: Content) -> None:
        self._content, self._since, self._came = content, 0.0, 0
        self._alone = 0.0  # bytes a second over one connection
        self._stage = "alone"

    def allowed(self, count: int, most: int) -> int:
        """Take note of bytes that came; return how many connections there may be."""
        now, content = time.monotonic(), self._content
        if not self._since and count:
            self._since, count = now, 0  # what came until now began to come earlier
        self._came += count
        took = now - self._since if self._since else 0.0
        if self._stage == "alone" and took > _LOOK:
            self._alone = self._came / took
            left = sum(stretch.left for stretch in content.part.stretches)
            self._go("asked" if left > self._alone * _WORTH else "one", now)
        elif self._stage == "asked" and (content.knows_ranges or content.most == 1):
            self._go("starting" if content.knows_ranges else "one", now)
        elif self._stage == "starting" and took > _LOOK:
            self._go("together", now)
        elif self._stage == "together" and took > _LOOK:
            self._go("all" if self._came / took > self._alone * _GAIN else "one", now)
        return {"alone": 1, "one": 1, "asked": 2}.get(self._stage, most)

    def _go(self, stage: str, now: float) -> None:
        self._stage, self._since, self._came = stage, now, 0
