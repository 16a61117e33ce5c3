"""Connections that an interrupt can end, whatever the server does."""

from __future__ import annotations

from typing import Any

import requests.adapters
import urllib3.connection
import urllib3.connectionpool

from colab_magics.core import stopping

__all__ = ["Adapter"]


class _Http(urllib3.connection.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        stopping.note(self.sock)


class _Https(urllib3.connection.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        stopping.note(self.sock)


class _HttpPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _Https


class Adapter(requests.adapters.HTTPAdapter):
    """What a session opens its connections with, so that `colab_magics.core.stopping` knows of each."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of connections, with ours in them."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
