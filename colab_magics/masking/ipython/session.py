"""The mask over everything a kernel sends: its one `Session`.

Every message of every channel (output, replies, comms, input requests, debugger) is built and signed by the
kernel's `jupyter_client.session.Session` instance. Hooks further out come too late (`IOPubThread` sees signed
bytes), hooks further in are thread-local or can be replaced (`OutStream`, display publisher, exception
handlers). So the methods of this instance are what is replaced.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable
from typing import Any

from colab_magics.masking import registry
from colab_magics.masking.ipython.packing import pack_stream
from colab_magics.masking.stream import StreamMask
from colab_magics.masking.tree import blank_tree, redact_tree

__all__ = ["SessionMask"]

_DELAY = 0.1  # seconds a possible beginning of a secret is held back before it is shown, or masked, as it is
_KEPT = 64  # streams (a cell's stdout, a cell's stderr) whose ends are remembered

Message = dict[str, Any]


class _Tail:
    """A stream of one cell, and how to send more of it."""

    def __init__(self) -> None:
        self.mask = StreamMask()
        self.where: Any = None
        self.message: Message = {}
        self.ident: Any = None
        self.timed = False


class SessionMask:
    """Mask all that one session sends, until removed.

    Parameters
    ----------
    session : jupyter_client.session.Session
        The kernel's.
    on_input : callable
        Gets the source of each cell as it is announced, before that announcement is masked.
    """

    _NAMES = ("send", "serialize", "send_raw")

    def __init__(self, session: Any, on_input: Callable[[str], object]) -> None:
        self._session = session
        self._on_input = on_input
        self._lock = threading.RLock()
        self._tails: dict[tuple[str, str], _Tail] = {}
        self._latest: dict[str, tuple[str, str]] = {}  # of each stream, which cell wrote last
        self._home = self._pid = os.getpid()
        self._passed: Any = None  # content that has been masked already
        self._active = False
        self._previous: dict[str, Any] = {}
        self._send = session.send
        self._serialize = session.serialize
        self._send_raw = session.send_raw

    def install(self) -> None:
        """Take the session's methods over."""
        own = vars(self._session)
        self._previous = {name: own[name] for name in self._NAMES if name in own}
        own.update({name: getattr(self, name) for name in self._NAMES})
        self._active = True

    def remove(self) -> None:
        """Send what is held back and give the methods back."""
        with self._lock:
            for key in list(self._tails):
                self._settle(key)
            self._tails.clear()
            self._active = False
        own = vars(self._session)
        for name in self._NAMES:
            # Whoever patched the session after us calls us: then stay there and let everything through.
            if own.get(name) == getattr(self, name):
                if name in self._previous:
                    own[name] = self._previous[name]
                else:
                    del own[name]

    # What stands in the session's place ------------------------------------------------------------------

    def send(
        self,
        stream: Any,
        msg_or_type: Any,
        content: Any = None,
        parent: Any = None,
        ident: Any = None,
        buffers: Any = None,
        track: bool = False,
        header: Any = None,
        metadata: Any = None,
    ) -> Any:
        """Send a message as `Session.send` does, masked."""
        if isinstance(msg_or_type, dict):
            message = msg_or_type
            buffers = buffers or message.get("buffers")
        else:
            message = self._session.msg(msg_or_type, content=content, parent=parent, header=header, metadata=metadata)
        kind = message["header"].get("msg_type")
        if self._pid != os.getpid():
            self._forget_parent()
        if self._active and kind == "execute_input":
            self._announce(message)
        if self._active and registry.matcher() is not None:
            if kind == "stream":
                return self._send_stream(stream, message, ident)
            if self._tails:
                self._release(_parent(message))
            buffers = buffers and [_redact_buffer(buffer) for buffer in buffers]
        return self._send(stream, message, ident=ident, buffers=buffers, track=track)

    def serialize(self, msg: Message, ident: Any = None) -> Any:
        """Serialize a message as `Session.serialize` does, masked."""
        if self._active and registry.matcher() is not None:
            msg = {**msg, "content": self._clean(msg.get("content"))}
            if msg.get("metadata"):
                msg["metadata"] = self._masked(msg["metadata"])
        return self._serialize(msg, ident)

    def send_raw(self, stream: Any, msg_list: list[Any], flags: int = 0, copy: bool = True, ident: Any = None) -> Any:
        """Sign and send a serialized message as `Session.send_raw` does, masked."""
        if self._active and registry.matcher() is not None and len(msg_list) >= 4:
            header, parent, *parts = msg_list
            content = [self._clean(bytes(part)) for part in parts[:2]]
            msg_list = [header, parent, *content, *map(_redact_buffer, parts[2:])]
        return self._send_raw(stream, msg_list, flags=flags, copy=copy, ident=ident)

    # Whole messages --------------------------------------------------------------------------------------

    def _announce(self, message: Message) -> None:
        content = message.get("content")
        if isinstance(content, dict) and isinstance(content.get("code"), str):
            self._on_input(content["code"])

    def _clean(self, content: Any) -> Any:
        """Return content, serialized if it was not, in which nothing needs masking."""
        if content is None or content is self._passed:
            return content
        packed = content.encode() if isinstance(content, str) else content
        if isinstance(content, dict):
            # Scanning the bytes that are sent anyway is much cheaper than walking what they are made of.
            packed = self._session.pack(content)
        try:
            matcher = registry.matcher()
            if matcher is None or not matcher.spans(packed):
                return packed
            if not isinstance(content, dict):
                content = self._session.unpack(packed)
            return self._session.pack(redact_tree(content))
        except Exception as error:  # noqa: BLE001 - a mask that fails must not let the message through
            return self._session.pack(_blank(content, error))

    def _masked(self, metadata: Any) -> Any:
        try:
            return redact_tree(metadata)
        except Exception as error:  # noqa: BLE001 - a mask that fails must not let the message through
            return _blank(metadata, error)

    # Streams ---------------------------------------------------------------------------------------------

    def _send_stream(self, where: Any, message: Message, ident: Any) -> Message:
        content = message["content"]
        if not isinstance(content, dict):
            content = self._session.unpack(content)
        name, text = str(content.get("name")), str(content.get("text", ""))
        key = _parent(message), name
        with self._lock:
            self._release(key[0], but=key)
            tail = self._tails.pop(key, None) or self._begin(name)
            self._latest[name] = key
            tail.where, tail.message, tail.ident = where, message, ident
            shown = tail.mask.feed(text)
            if tail.mask.holding and not self._set_timer(key, tail):
                shown += tail.mask.settle()
            if not tail.mask.idle:
                self._tails[key] = tail
                if len(self._tails) > _KEPT:
                    oldest = next(iter(self._tails))
                    self._settle(oldest)
                    del self._tails[oldest]
            if shown:
                self._send_text(where, message, ident, name, shown)
        return message

    def _begin(self, name: str) -> _Tail:
        """Return a stream for another cell: it goes on where the last one ended, as it does before a reader's eyes."""
        tail, last = _Tail(), self._latest.get(name)
        if last in self._tails:
            self._settle(last)
            tail.mask = copy.copy(self._tails[last].mask)
        return tail

    def _send_text(self, where: Any, message: Message, ident: Any, name: str, text: str) -> None:
        with self._lock:
            self._passed = {"name": name, "text": text}
            if not self._session.adapt_version:
                self._passed = pack_stream(self._session, name, text)
            try:
                self._send(where, {**message, "content": self._passed}, ident=ident)
            finally:
                self._passed = None

    def _release(self, parent: str, but: tuple[str, str] | None = None) -> None:
        """Send what is held back of a cell's streams: something that must come after it is next."""
        with self._lock:
            for key in [key for key in self._tails if key[0] == parent and key != but]:
                self._settle(key)

    def _settle(self, key: tuple[str, str]) -> None:
        tail = self._tails[key]
        shown = tail.mask.settle()
        if shown:
            # Its own header: a front end may drop a second message with the same id.
            message = self._session.msg("stream", parent=tail.message.get("parent_header"))
            self._send_text(tail.where, message, tail.ident, key[1], shown)

    def _set_timer(self, key: tuple[str, str], tail: _Tail) -> bool:
        """See to it that what is held back will be shown; False if nobody is there to do it."""
        thread = getattr(tail.where, "io_thread", tail.where)
        loop, runner = getattr(thread, "io_loop", None), getattr(thread, "thread", None)
        if loop is None or runner is None or not runner.is_alive() or self._home != self._pid:
            return False
        if not tail.timed:
            tail.timed = True
            thread.schedule(lambda: loop.call_later(_DELAY, self._expire, key))
        return True

    def _expire(self, key: tuple[str, str]) -> None:
        with self._lock:
            tail = self._tails.get(key)
            if tail is not None:
                tail.timed = False
                self._settle(key)

    def _forget_parent(self) -> None:
        """Leave what is held back to the process that forked this one: it will show it itself."""
        # Not in a hook of os.register_at_fork: others, run before it, may print.
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._tails = {}


def _parent(message: Message) -> str:
    return str((message.get("parent_header") or {}).get("msg_id", ""))


def _redact_buffer(buffer: Any) -> Any:
    try:
        data = bytes(buffer)
        masked = registry.redact_bytes(data)
        return buffer if masked == data else masked
    except Exception:  # noqa: BLE001 - a mask that fails must not let the data through
        return b"*" * memoryview(buffer).nbytes


def _blank(content: Any, error: Exception) -> Any:
    notice = registry.withheld(error)
    return blank_tree(content, notice) if isinstance(content, dict) else {"text": notice}
