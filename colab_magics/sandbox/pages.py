"""The HTML pages that Dropbox answers with where a download does not happen."""

from __future__ import annotations

import html
from typing import Literal

__all__ = ["PRESETS", "Preset", "document", "for_status", "password", "preview"]

Preset = Literal["gone", "restricted", "traffic", "too-large", "too-many-files", "login"]


def document(title: str, text: str, extra: str = "") -> str:
    """Return a page with a title and a sentence, in the shape of Dropbox's own pages.

    Parameters
    ----------
    title, text : str
        Plain text.
    extra : str
        HTML that follows the text.
    """
    title, text = html.escape(title), html.escape(text)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{title}</title><meta property="og:title" content="{title}"></head>\n'
        f'<body><div id="page-content"><h1>{title}</h1><p>{text}</p>{extra}</div></body></html>\n'
    )


#: Status and page of each way to fail that has a name.
PRESETS: dict[Preset, tuple[int, str]] = {
    "gone": (
        404,
        document("Dropbox - 404", "This item was deleted: the file or folder may have been moved or deleted."),
    ),
    "restricted": (
        403,
        document("Dropbox - Restricted Content", "Restricted Content: this file is no longer available."),
    ),
    "traffic": (
        429,
        document(
            "Dropbox - Error 429",
            "This account's links are generating too much traffic and have been temporarily disabled!",
        ),
    ),
    "too-large": (
        200,
        document("Dropbox - Zip file too large", "The zip file is too large. This folder cannot be downloaded."),
    ),
    "too-many-files": (
        200,
        document("Dropbox - Too many files", "There are too many files in this folder to download it."),
    ),
    "login": (
        200,
        document(
            "Login - Dropbox",
            "Sign in to Dropbox to continue.",
            '<form action="/ajax_login" method="post"><input name="login_email"></form>',
        ),
    ),
}


def for_status(status: int) -> str:
    """Return the page for an HTTP status: a preset's where one has it, else a plain error page."""
    for code, page in PRESETS.values():
        if code == status != 200:
            return page
    return document(f"Dropbox - {status}", f"Error ({status}): something went wrong.")


def preview(name: str) -> str:
    """Return the page that shows what a link holds, which a link without ``dl=1`` leads to."""
    return document(f"Dropbox - {name}", "Shared with Dropbox. Download it, or save it to your Dropbox.")


def password(location: str) -> str:
    """Return the page that asks for a link's password; `location` is its own address."""
    form = f'<form method="post" action="{html.escape(location)}"><input type="password" name="password"></form>'
    return document("Dropbox - Password Required", "Enter the password for this link.", form)
