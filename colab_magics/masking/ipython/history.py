"""The mask over what IPython stores.

Its history (sqlite, ``In``, ``_i``), logs, what %notebook exports, and the folders, bookmarks and aliases that it keeps
in its profile.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from colab_magics.masking import registry
from colab_magics.masking.stream import StreamMask
from colab_magics.masking.tree import redact_tree

__all__ = ["HistoryMask"]


_PLACES = (
    "dhist",
    "bookmarks",
    "stored_aliases",
)  # in the profile's database; the rest is what %store was told to keep


class HistoryMask:
    """Mask what a shell stores, until removed.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
        Its history manager and logger are patched as instances, so that everything that reads from them
        (``%history``, ``%recall``, ``%notebook``, a front end's list of past cells) sees masked text.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._history = shell.history_manager
        self._patched: list[tuple[Any, str, Any, Any]] = []
        self._originals: dict[str, Any] = {}

    def install(self) -> None:
        """Take over what stores text."""
        if self._history is not None:
            self._patch(self._history, "store_inputs", self._store_inputs)
            self._patch(self._history, "store_output", self._store_output)
            self._patch(self._history, "get_range", self._get_range)
        self._patch(self._shell.logger, "log_write", self._log_write)
        # Python looks `__setitem__` up in the class.
        self._database = self._shell.db
        self._database_class = plain = type(self._database)

        def store(database: Any, key: str, value: Any) -> None:
            plain.__setitem__(database, key, redact_tree(value) if key in _PLACES else value)

        self._database.__class__ = type(plain.__name__, (plain,), {"__setitem__": store})

    def remove(self) -> None:
        """Give everything back."""
        self._database.__class__ = self._database_class
        for owner, name, ours, previous in self._patched:
            if vars(owner).get(name) == ours:
                if previous is None:
                    del vars(owner)[name]
                else:
                    vars(owner)[name] = previous

    def _patch(self, owner: Any, name: str, ours: Any) -> None:
        self._patched.append((owner, name, ours, vars(owner).get(name)))
        self._originals[name] = getattr(owner, name)
        vars(owner)[name] = ours

    def _store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> Any:
        raw = None if source_raw is None else registry.redact(source_raw)
        return self._originals["store_inputs"](line_num, registry.redact(source), raw)

    def _store_output(self, line_num: int) -> Any:
        reprs = self._history.output_hist_reprs
        if line_num in reprs:
            reprs[line_num] = redact_tree(reprs[line_num])
        return self._originals["store_output"](line_num)

    def _log_write(self, data: str, kind: str = "input") -> Any:
        return self._originals["log_write"](registry.redact(data), kind)

    def _get_range(self, *args: Any, **options: Any) -> Any:
        # From IPython 9 on, outputs are kept too, for %notebook, which asks for the inputs first. To mask them when
        # they are made would be to search everything that is printed a second time.
        if registry.matcher() is not None:
            self._mask_outputs()
        return self._originals["get_range"](*args, **options)

    def _mask_outputs(self) -> None:
        # A stream goes on from cell to cell, as in what the kernel sends.
        streams: dict[str, StreamMask] = defaultdict(StreamMask)
        for _, outputs in sorted((getattr(self._history, "outputs", None) or {}).items()):
            for output in outputs:
                # What was printed piece by piece is kept so, and exported in one piece.
                for kind, data in output.bundle.items():
                    if _is_pieces(data):
                        stream = streams[output.output_type]
                        output.bundle[kind] = [stream.feed("".join(data)) + stream.settle()]
                output.bundle = redact_tree(output.bundle)
        errors = getattr(self._history, "exceptions", None) or {}
        for number in list(errors):
            errors[number] = redact_tree(errors[number])


def _is_pieces(data: object) -> bool:
    return isinstance(data, list) and all(isinstance(piece, str) for piece in data)
