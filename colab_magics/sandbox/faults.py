"""What goes wrong at Dropbox, and the HTML pages that it then answers with."""

from __future__ import annotations

import html
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from colab_magics.sandbox.server import HTML, Exchange

__all__ = ["PRESETS", "Fault", "Preset", "for_status", "page", "password_page", "preview_page"]

Preset = Literal["gone", "restricted", "traffic", "too-large", "too-many-files", "login"]


def page(title: str, text: str, extra: str = "") -> str:
    """Return a page with a title and a sentence, in the shape of Dropbox's own; `extra` is HTML that follows."""
    title, text = html.escape(title), html.escape(text)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{title}</title><meta property="og:title" content="{title}"></head>\n'
        f'<body><div id="page-content"><h1>{title}</h1><p>{text}</p>{extra}</div></body></html>\n'
    )


_TRAFFIC = "This account's links are generating too much traffic and have been temporarily disabled!"
_TOO_LARGE = "The zip file is too large. This folder cannot be downloaded."
_TOO_MANY = "There are too many files in this folder to download it."
_GONE = "This item was deleted: the file or folder may have been moved or deleted."
_LOGIN = '<form action="/ajax_login" method="post"><input name="login_email"></form>'
#: Status and page of each way to fail that has a name.
PRESETS: dict[Preset, tuple[int, str]] = {
    "gone": (404, page("Dropbox - 404", _GONE)),
    "restricted": (403, page("Dropbox - Restricted Content", "Restricted Content: this file is no longer available.")),
    "traffic": (429, page("Dropbox - Error 429", _TRAFFIC)),
    "too-large": (200, page("Dropbox - Zip file too large", _TOO_LARGE)),
    "too-many-files": (
        200,
        page("Dropbox - Too many files", _TOO_MANY),
    ),
    "login": (200, page("Login - Dropbox", "Sign in to Dropbox to continue.", _LOGIN)),
}


def for_status(status: int) -> str:
    """Return the page for an HTTP status: a preset's where one has it, else a plain error page."""
    plain = page(f"Dropbox - {status}", f"Error ({status}): something went wrong.")
    return next((known for code, known in PRESETS.values() if code == status != 200), plain)


def preview_page(name: str) -> str:
    """Return the page that shows what a link holds, which a link without ``dl=1`` leads to."""
    return page(f"Dropbox - {name}", "Shared with Dropbox. Download it, or save it to your Dropbox.")


def password_page(location: str) -> str:
    """Return the page that asks for a link's password; `location` is its own address."""
    form = f'<form method="post" action="{html.escape(location)}"><input type="password" name="password"></form>'
    return page("Dropbox - Password Required", "Enter the password for this link.", form)


@dataclass
class Fault:
    """How downloads of a link go wrong; see `Sandbox.fail`."""

    status: int | None = None
    page: Preset | None = None
    cut_after: int | None = None
    times: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str | None = None
    delay: float | threading.Event | None = None
    delay_at: int = 0

    @property
    def at_door(self) -> bool:
        """Whether the website refuses already, instead of the download host."""
        if self.page is not None:
            # Dropbox redirects first and finds out that a folder is over the limits while it zips.
            return self.page not in ("too-large", "too-many-files")
        return self.status is not None and self.status >= 300

    def wait(self, exchange: Exchange) -> None:
        """Hold the answer back for as long as it says, but never beyond the end of the sandbox."""
        stopping = exchange.host.stopping
        if isinstance(self.delay, threading.Event):
            while not self.delay.wait(0.05) and not stopping.is_set():
                pass
        elif self.delay:
            stopping.wait(self.delay)

    def refuse(self, exchange: Exchange) -> None:
        """Answer in place of the download."""
        self.wait(exchange)
        status, preset = PRESETS[self.page] if self.page else (self.status or 500, "")
        status = self.status or status
        body = self.body if self.body is not None else (preset or for_status(status))
        exchange.reply(status, body, self.content_type or HTML, self.headers)
