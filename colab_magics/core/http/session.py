"""HTTP as a sync speaks it: connections that an interrupt can end, to servers that show a valid certificate.

It stands on the standard library alone, since whoever syncs from a shell waits for every import first. Proxies are
the environment's (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``); nothing is looked for in ``~/.netrc``.
"""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from typing import cast
from urllib.parse import quote, urlencode, urlsplit

from colab_magics.core.common import cancellation
from colab_magics.core.http.responses import RetryError
from colab_magics.errors import TransferError

__all__ = ["Session", "told"]

_CONNECT, _SILENCE = 15.0, 60.0  # seconds to connect, and between two pieces
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # what people set for most other programs
_KEPT = "!#$%&'()*+,/:;=?@[]~"  # of an address, as it is; RFC 3986, section 2.2


class Session:
    """Asks servers; follows no redirect, and keeps the cookies of all it has asked.

    Parameters
    ----------
    headers : mapping of str to str
        What every request says.

    Attributes
    ----------
    cookies : CookieJar
        What servers have set.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.cookies = CookieJar()
        self._proxies = _proxies()
        self._handler = _Handler()
        self._opener = urllib.request.OpenerDirector()
        self._opener.addheaders = list(headers.items())
        # No handler of redirects or of errors: each answer is returned as it is.
        for handler in (
            urllib.request.ProxyHandler(self._proxies),
            self._handler,
            urllib.request.HTTPCookieProcessor(self.cookies),
        ):
            self._opener.add_handler(handler)

    def get(self, address: str, headers: Mapping[str, str] | None = None) -> HTTPResponse:
        """Ask for what is at `address`.

        Raises
        ------
        RetryError
            When there is no answer now.
        TransferError
            When there cannot be one.
        """
        return self._open(urllib.request.Request(_escaped(address), headers=dict(headers or {})))  # noqa: S310

    def post(self, address: str, form: Mapping[str, str]) -> HTTPResponse:
        """Send a form; the rest is as for `get`."""
        return self._open(urllib.request.Request(_escaped(address), urlencode(form).encode()))  # noqa: S310

    def _open(self, request: urllib.request.Request) -> HTTPResponse:
        proxy = self._proxies.get(request.type, "")
        if proxy.lower().startswith("socks") and not urllib.request.proxy_bypass(request.host):
            raise TransferError(
                f"the proxy for {request.type}:// in this machine's environment speaks SOCKS; set one that speaks HTTP"
            )
        if request.type == "https" and self._handler.context is None:
            self._handler.context = _trusted()
        with told(request.host, "does not answer", "failed"):
            try:
                return cast("HTTPResponse", self._opener.open(request, timeout=_CONNECT))
            except urllib.error.URLError as error:
                if isinstance(error.reason, Exception):
                    raise error.reason from None
                raise


@contextmanager
def told(host: str, silent: str, broken: str) -> Iterator[None]:
    """Turn what goes wrong with a connection into a retry, or into an error when it would go wrong again.

    Parameters
    ----------
    host : str
        Whom it is to.
    silent, broken : str
        What to say when nothing comes, and when it is lost.
    """
    try:
        yield
    except TimeoutError:
        raise RetryError(f"{host} {silent}") from None
    except ssl.SSLCertVerificationError:
        raise TransferError(f"{host} shows no valid certificate; check this machine's clock and proxy") from None
    except (http.client.InvalidURL, UnicodeError):
        raise TransferError(f"an address on {host} is none that can be asked; check the link") from None
    except (OSError, http.client.HTTPException):
        raise RetryError(f"the connection to {host} {broken}") from None


class _Http(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _connected(self)


class _Https(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _connected(self)


def _connected(connection: http.client.HTTPConnection) -> None:
    connection.sock.settimeout(_SILENCE)
    cancellation.note(connection.sock)


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens connections of ours."""

    #: Whom to trust; it takes a while to read, so that this is done when the first connection is to be secured.
    context: ssl.SSLContext | None = None

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Http, request)

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Https, request, context=self.context)


def _trusted() -> ssl.SSLContext:
    """Return whom to trust: a bundle that the environment names, else the system's, else certifi's."""
    variable = next(filter(os.environ.get, _BUNDLES), "")
    bundle = os.environ.get(variable)
    paths = ssl.get_default_verify_paths()
    if bundle is None and paths.cafile is None and paths.capath is None:
        import certifi  # here: most systems have their own

        bundle = certifi.where()
    is_folder = bundle is not None and os.path.isdir(bundle)
    try:
        context = ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    except OSError as error:
        if not variable:
            raise
        raise TransferError(f"{variable} names {bundle!r}, which holds no certificates ({error}); correct it") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _proxies() -> dict[str, str]:
    proxies = urllib.request.getproxies()
    for scheme in ("http", "https"):
        if "all" in proxies:
            proxies.setdefault(scheme, proxies["all"])
    return proxies


def _escaped(address: str) -> str:
    """Return an address as it may be asked, which it is already unless a person wrote it."""
    parts = urlsplit(address)
    return parts._replace(path=quote(parts.path, safe=_KEPT), query=quote(parts.query, safe=_KEPT)).geturl()
