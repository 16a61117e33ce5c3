"""A session of requests whose connections an interrupt can end. It takes 0.05 s to import: do so when it is needed.

Certificates, cookies and proxies (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``) are the work of requests; but what is
on this machine is asked past every proxy. It follows no redirect, since what may be sent to the next host is for the
caller to say, and finds no password in ``~/.netrc``.
"""

from __future__ import annotations

import http.client
import math
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidProxyURL, InvalidSchema, ProxyError, ReadTimeout
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError

from colab_magics.core.common import cancellation
from colab_magics.core.common.addresses import is_loopback
from colab_magics.core.http.responses import RetryError
from colab_magics.errors import TransferError
from colab_magics.masking import MASK

__all__ = ["Body", "Session"]

_CONNECT, _SILENCE = 15.0, 60.0  # seconds to connect, and between two pieces
_BLOCK = 1 << 18  # bytes sent at a time
_SLICE = 0.1  # seconds between two looks at whether to stop
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # what people set for most other programs


class Session(requests.Session):
    """Asks servers; keeps connections and cookies.

    Parameters
    ----------
    headers : mapping of str to str
        What every request says.

    Attributes
    ----------
    latency : float
        Seconds that the quickest answer took, once there was a connection.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.headers.update(headers)
        self.latency = math.inf
        self.auth = _as_it_is  # without any, requests looks into ~/.netrc
        self.verify = _authorities()
        self.mount("http://", _Adapter())
        self.mount("https://", _Adapter())

    def merge_environment_settings(self, url: Any, *rest: Any, **more: Any) -> Any:
        """Name no proxy for this machine: over plain http it would read what is sent."""
        settings: Any = super().merge_environment_settings(url, *rest, **more)
        return settings | {"proxies": _proxies(url)}

    def get_redirect_target(self, _response: requests.Response) -> None:
        """Name none, so that requests neither follows a redirect nor reads its body."""

    def ask(
        self,
        address: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | bytes | Body | None = None,
    ) -> requests.Response:
        """Send a request, with a form or other content; return the response before its body is read.

        Raises
        ------
        RetryError
            When there is no answer now.
        TransferError
            When there cannot be one.
        """
        began = time.monotonic()
        try:
            made = self.request(method, address, headers=headers, data=data, stream=True, timeout=(_CONNECT, _SILENCE))  # type: ignore[arg-type]  # a Body is all that it needs of a file
        except (OSError, ValueError, HTTPError, http.client.HTTPException) as error:
            raise _meaning(address, error) from None
        connecting = getattr(made.raw.connection, "__dict__", {}).pop("connecting", 0.0)
        self.latency = min(self.latency, time.monotonic() - began - connecting)
        # A connection that is used again was noted by whoever made it, maybe in another thread's run.
        cancellation.note(getattr(made.raw.connection, "sock", None))
        return made


class Body:
    """What is sent, a block at a time: each has its own time-out, and between two an interrupt is heard.

    Parameters
    ----------
    data : bytes
        All of it.
    sent : callable
        Is told of each block's size in bytes.
    """

    def __init__(self, data: bytes, sent: Callable[[int], object]) -> None:
        self._data, self._sent, self._at = memoryview(data), sent, 0

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[memoryview]:
        while block := self.read():
            yield block

    def read(self, _size: int = -1) -> memoryview:
        """Return the next block."""
        cancellation.check()
        block = self._data[self._at : self._at + _BLOCK]
        self._at += len(block)
        self._sent(len(block))
        return block


class _Adapter(HTTPAdapter):
    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _interruptible(pool.ConnectionCls)  # of http, https or SOCKS
        return pool


@cache
def _interruptible(kind: Any) -> Any:
    """Return a class of connections that an interrupt can end, even while they are made."""
    if hasattr(kind, "is_interruptible"):
        return kind

    class Interruptible(kind):  # type: ignore[misc]
        is_interruptible = True

        def connect(self) -> None:
            began = time.monotonic()
            # Neither a name's look-up nor a handshake can be woken, so that another thread waits for them.
            made: Future[None] = Future()
            threading.Thread(target=self._connect, args=(made,), name="connect", daemon=True).start()
            try:
                while not wait([made], _SLICE).done:
                    cancellation.check()
            except BaseException:
                made.add_done_callback(lambda _: self.close())
                raise
            made.result()
            self.connecting = time.monotonic() - began  # until somebody asks
            cancellation.note(self.sock)

        def _connect(self, made: Future[None]) -> None:
            try:
                super().connect()
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                made.set_exception(error)
            else:
                made.set_result(None)

    return Interruptible


def _proxies(address: str) -> dict[str, str]:
    return {} if is_loopback(urlsplit(address).hostname) else get_environ_proxies(address)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _authorities() -> str:
    """Return whom to trust when the environment names no bundle for requests: the system's list, else certifi's."""
    system = ssl.get_default_verify_paths()  # knows SSL_CERT_FILE and SSL_CERT_DIR
    if system.cafile and not os.environ.get("SSL_CERT_DIR"):
        return system.cafile
    return system.capath if system.capath and os.listdir(system.capath) else system.cafile or certifi.where()


def _meaning(address: str, error: Exception) -> Exception:
    """Return what to raise when there is no response; a proxy that stands in the way is named."""
    host, scheme = urlsplit(address).netloc.rpartition("@")[2], urlsplit(address).scheme
    if isinstance(error, InvalidSchema) and "SOCKS" in str(error):
        return TransferError("this machine's proxy speaks SOCKS, which takes one package more: pip install PySocks")
    proxy = str(select_proxy(address, _proxies(address)) or "")
    is_proxys = isinstance(error, ProxyError | InvalidProxyURL) or (
        proxy.startswith("socks") and not isinstance(error, ReadTimeout | ValueError)
    )
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    variable = next(filter(os.environ.get, names), "this machine's settings")
    whom = f"the proxy {re.sub(r'^([a-z0-9]+://)?.*@', rf'{MASK}@', proxy)} ({variable})" if is_proxys else host
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return TransferError(f"{whom} shows no valid certificate; check this machine's clock and proxy")
    if scheme == "https" and (refusal := _bundle_refusal()):
        return refusal
    if isinstance(error, InvalidProxyURL):
        return TransferError(f"{whom} is no address; correct it")
    if isinstance(error, ValueError):
        return TransferError(f"an address on {host} is none that can be asked; check the link")
    if is_proxys:
        refused = re.search(r"Tunnel connection failed: (4\d\d[\w ]*)", str(error))
        if refused:
            return TransferError(f"{whom} refuses to connect to {host} ({refused[1]}); correct {variable}")
        return RetryError(f"{whom} gives no connection to {host}")
    silent = any(isinstance(cause, TimeoutError) for cause in causes)
    return RetryError(f"{host} does not answer" if silent else f"the connection to {host} failed")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what led to it: requests and urllib3 wrap one in the other, in several ways."""
    while error is not None:
        yield error
        wrapped = [getattr(error, "reason", None), *error.args, error.__cause__, error.__context__]
        error = next((each for each in wrapped if isinstance(each, BaseException)), None)


def _bundle_refusal() -> TransferError | None:
    """Return what to raise when the environment names a bundle in which there is no certificate."""
    variable = next(filter(os.environ.get, _BUNDLES), "")
    bundle = os.environ.get(variable)
    try:
        if bundle and not os.path.isdir(bundle):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(bundle)
    except OSError as error:
        return TransferError(f"{variable} names {bundle!r}, which holds no certificates ({error}); correct it")
    return None
