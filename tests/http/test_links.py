"""Share links: every form that Dropbox has, and what is asked for them."""

from __future__ import annotations

import contextlib
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Answer, serving

from colab_magics import masking
from colab_magics.core.http import links
from colab_magics.core.http.client import Client
from colab_magics.errors import ColabMagicsError, LinkError, TokenError

KEY = "q7w8e9r0t1y2u3i4o5p6a7s8d"

DOWNLOADS = {
    "https://www.dropbox.com/s/abc123def456ghi/data.csv": ("/s/abc123def456ghi/data.csv", "file", False),
    "https://www.dropbox.com/s/abc123def456ghi/data.csv?dl=0": ("/s/abc123def456ghi/data.csv", "file", False),
    "https://www.dropbox.com/s/dl/abc123def456ghi/data.csv": ("/s/abc123def456ghi/data.csv", "file", False),
    "https://dl.dropboxusercontent.com/s/abc123def456ghi/data.csv": ("/s/abc123def456ghi/data.csv", "file", False),
    "https://dl.dropbox.com/s/abc123def456ghi/data.csv?raw=1": ("/s/abc123def456ghi/data.csv", "file", False),
    "https://www.dropbox.com/sh/abc123def456ghi/AAAkeykeykeykey": (
        "/sh/abc123def456ghi/AAAkeykeykeykey",
        "folder",
        False,
    ),
    "https://www.dropbox.com/sh/dl/abc123def456ghi/AAAkeykeykeykey": (
        "/sh/abc123def456ghi/AAAkeykeykeykey",
        "folder",
        False,
    ),
    "https://www.dropbox.com/sh/abc123def456ghi/AAAkeykeykeykey/sub?dl=0": (
        "/sh/abc123def456ghi/AAAkeykeykeykey/sub",
        "folder",
        False,
    ),
    f"https://www.dropbox.com/scl/fi/abc123/data.csv?rlkey={KEY}&st=x1y2&dl=0": (
        "/scl/fi/abc123/data.csv",
        "file",
        True,
    ),
    f"https://www.dropbox.com/scl/fi/abc123/data.csv?dl=0&e=1&rlkey={KEY}": ("/scl/fi/abc123/data.csv", "file", True),
    f"https://www.dropbox.com/scl/fi/abc123/data.csv?rlkey={KEY}&raw=1": ("/scl/fi/abc123/data.csv", "file", True),
    f"https://www.dropbox.com/e/scl/fi/abc123/data.csv?rlkey={KEY}": ("/scl/fi/abc123/data.csv", "file", True),
    f"https://dl.dropboxusercontent.com/scl/fi/abc123/data.csv?rlkey={KEY}&dl=0": (
        "/scl/fi/abc123/data.csv",
        "file",
        True,
    ),
    f"https://www.dropbox.com/scl/fo/abc123/AHash?rlkey={KEY}&st=x1y2&dl=0": ("/scl/fo/abc123/AHash", "folder", True),
    f"https://www.dropbox.com/scl/fo/abc123/h?rlkey={KEY}": ("/scl/fo/abc123/h", "folder", True),
    f"https://www.dropbox.com/scl/fo/abc123/AHash/sub/x.csv?rlkey={KEY}": (
        "/scl/fo/abc123/AHash/sub/x.csv",
        "folder",
        True,
    ),
    f"https://www.dropbox.com/e/scl/fo/abc123/AHash?rlkey={KEY}": ("/scl/fo/abc123/AHash", "folder", True),
    f"http://dropbox.com//scl/fo/abc123/AHash/?rlkey={KEY}&dl=1#x": ("/scl/fo/abc123/AHash", "folder", True),
    f"HTTPS://WWW.DROPBOX.COM/scl/fo/abc123/AHash?rlkey={KEY}": ("/scl/fo/abc123/AHash", "folder", True),
    f"www.dropbox.com/scl/fo/abc123/AHash?rlkey={KEY}": ("/scl/fo/abc123/AHash", "folder", True),
    f'"https://www.dropbox.com/scl/fo/abc123/AHash?rlkey={KEY}&amp;dl=0"': ("/scl/fo/abc123/AHash", "folder", True),
    f" <https://m.dropbox.com/scl/fo/abc123/AHash?dl=0&dl=0&rlkey={KEY}>\n": ("/scl/fo/abc123/AHash", "folder", True),
    "https://www.dropbox.com/l/AADabcdefghijk": ("/l/AADabcdefghijk", "redirector", False),
    "https://www.dropbox.com/l/scl/AADabcdefghijk": ("/l/scl/AADabcdefghijk", "redirector", False),
}

REFUSED = {
    "https://www.dropbox.com/t/AbCdEfGh": "Transfer",
    "https://www.dropbox.com/transfer/AAAAAAbc": "Transfer",
    "https://www.dropbox.com/request/AbCdEfGh": "file request",
    "https://www.dropbox.com/home/photos": "your own account",
    "https://www.dropbox.com/home": "your own account",
    "https://www.dropbox.com/work/Team/x": "your own account",
    "https://www.dropbox.com/doc/notes-AbC": "Paper",
    "https://paper.dropbox.com/doc/notes-AbC": "Paper",
    "https://www.dropbox.com/sc/abc/def": "showcase",
    "https://www.dropbox.com/u/12345/file.zip": "Public",
    "https://uc0ffee.dl.dropboxusercontent.com/cd/0/get/Abcdef/file": "temporary",
    "https://uc0ffee.dl.dropboxusercontent.com/zip_download_get/Abcdef": "temporary",
    "https://www.dropbox.com/": "not a Dropbox share link",
    "https://www.dropbox.com/s/": "not a Dropbox share link",
    "https://www.dropbox.com/scl/fo/abc": "not a Dropbox share link",
    "https://db.tt/": "alone",
}


@pytest.mark.parametrize(("link", "expected"), DOWNLOADS.items(), ids=list(DOWNLOADS))
def test_every_share_link_becomes_a_download(link: str, expected: tuple[str, str, bool]) -> None:
    """Each form is asked for at www.dropbox.com, with its key if it has one, `dl=1` once and nothing else."""
    path, kind, keyed = expected
    parsed = links.parse(link)
    parts = urlsplit(parsed.url)
    assert (parts.scheme, parts.netloc, parts.path, parsed.kind) == ("https", "www.dropbox.com", path, kind)
    assert parse_qs(parts.query) == ({"rlkey": [KEY], "dl": ["1"]} if keyed else {"dl": ["1"]})
    assert links.rewrite(parsed.url) == parsed.url
    assert KEY not in repr(parsed) + parsed.shown


@pytest.mark.parametrize(("link", "words"), REFUSED.items(), ids=list(REFUSED))
def test_what_is_no_download_says_which_link_to_make(link: str, words: str) -> None:
    """A page of Dropbox's that holds no file is refused before any request, with what to do instead."""
    with pytest.raises(LinkError, match=words) as caught:
        links.parse(link)
    assert "Copy link" in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "text", ["", "data", "ftp://host/x.zip", "/scl/fo/a/b", "https://", "http://[::1", "https://h:x/y"]
)
def test_what_is_no_address_says_what_to_give(text: str) -> None:
    """Anything that is no http(s) address is refused with the form that is wanted."""
    with pytest.raises(LinkError, match="Copy link"):
        links.parse(text)


def test_a_name_or_password_in_an_address_is_refused() -> None:
    """Credentials in an address are in the notebook by then: the error says to revoke them, and shows none."""
    with pytest.raises(TokenError, match="revoke") as caught:
        links.parse("https://me:hunter2hunter2@example.org/data.zip")
    assert "hunter2" not in str(caught.value)


def test_a_redirector_is_recognised() -> None:
    """db.tt and /l/ are to be followed first; nothing of a query belongs to them."""
    assert links.parse("http://db.tt/AbCd1234?x=1").kind == "redirector"
    assert links.parse("db.tt/AbCd1234").url == "https://db.tt/AbCd1234"


def test_a_preview_link_is_its_folder_and_says_so() -> None:
    """`?preview=` names an item, but what downloads is the folder: the note tells it."""
    link = links.parse(f"https://www.dropbox.com/scl/fo/a1/AHash?rlkey={KEY}&preview=my+file.csv")
    assert link.kind == "folder"
    assert "preview" not in link.url
    assert "'my file.csv'" in (link.note or "")


def test_any_other_address_stays_as_it_is() -> None:
    """What is not Dropbox's keeps its query, in which an entity's name may be a parameter; its fragment goes."""
    link = links.parse("https://example.org/a%20b/data.zip?sig=1&copy=2&reg=3#part")
    assert (link.kind, link.name, link.url) == (
        "url",
        "data.zip",
        "https://example.org/a%20b/data.zip?sig=1&copy=2&reg=3",
    )
    assert "sig" not in link.shown
    assert links.fetch_address(link, "http://127.0.0.1:1") == link.url


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("a%20b.csv", "a b.csv"),
        ("..%2F..%2Fevil", "evil"),
        ("..", None),
        ("%2e%2e", None),
        ("x%00y", "x_y"),
        ("a%5Cb", "b"),
    ],
)
def test_a_links_name_is_never_a_path(segment: str, name: str | None) -> None:
    """Whatever is quoted into a link's last part, the name that comes out has no folders in it."""
    assert links.parse(f"https://www.dropbox.com/scl/fi/abc/{segment}?rlkey={KEY}").name == name


def test_links_are_fetched_from_what_stands_in_for_dropbox() -> None:
    """`dropbox_url` moves the request, and a link that already names it is understood as Dropbox's."""
    link = links.parse(f"https://www.dropbox.com/scl/fo/a1/AHash?rlkey={KEY}")
    base = "http://127.0.0.1:8080/mirror/"
    moved = links.fetch_address(link, base)
    assert moved == f"http://127.0.0.1:8080/mirror/scl/fo/a1/AHash?rlkey={KEY}&dl=1"
    assert links.parse(moved, dropbox_url=base) == link
    assert links.fetch_address(link, "https://www.dropbox.com/") == link.url
    assert KEY not in repr(links.parse(moved, dropbox_url=base))


@pytest.mark.parametrize(
    "typed",
    [
        f"https://www.dropbox.com/scl/fo/a1/AHash?rlkey={KEY}?dl=1",
        f"https://www.dropbox.com/scl/fo/a1/AHash?rlkey={KEY}&st=x?dl=0&raw=1",
        f"https://www.dropbox.com/scl/fo/a1/AHash\\?rlkey\\={KEY}\\&dl\\=0",
        f"https://www.dropbox.com/scl/fo/a1/AHash?dl=0\\&rlkey={KEY}",
    ],
)
def test_a_link_that_was_mistreated_on_its_way_is_understood(typed: str) -> None:
    """A ``?dl=1`` that was added by hand, and a shell's backslashes."""
    assert links.parse(typed) == links.parse(f"https://www.dropbox.com/scl/fo/a1/AHash?rlkey={KEY}")


@pytest.mark.parametrize("key", ["ab%20cd%20ef", "+++++++++", "%20" * 9, "a%00b%0Ac%FFdefgh", "x" * 3000])
def test_an_odd_key_is_no_stack_trace(key: str) -> None:
    """What is long enough to be a secret is one, and never shown; white space does not count."""
    link = links.parse(f"https://www.dropbox.com/scl/fo/a1/AHash?rlkey={key}")
    for secret in link.secrets:
        masking.register(secret)
    assert key not in repr(link)
    assert links.rewrite(link.url) == link.url


words = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20
)
tokens = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8, max_size=30)


@st.composite
def share_links(draw: st.DrawFn) -> tuple[str, str | None]:
    """Draw a share link of any form with its parameters in any order, and its key."""
    ident, key = draw(tokens), draw(tokens)
    name = quote(draw(words).strip() or "x")
    form = draw(st.sampled_from(["s/{i}/{n}", "sh/{i}/{k}", "scl/fi/{i}/{n}", "scl/fo/{i}/h", "e/scl/fo/{i}/AB/{n}"]))
    keyed = "scl/" in form
    noise = draw(st.lists(st.sampled_from(["dl=0", "dl=1", "raw=1", "st=abc", "e=2", "dl="]), max_size=4))
    query = draw(st.permutations([*noise, *([f"rlkey={key}"] if keyed else [])]))
    host = draw(st.sampled_from(["www.dropbox.com", "dropbox.com", "dl.dropboxusercontent.com"]))
    path = form.format(i=ident, n=name, k=key)
    return f"https://{host}/{path}?{'&'.join(query)}", key if keyed else None


@given(share_links())
def test_rewriting_twice_changes_nothing(drawn: tuple[str, str | None]) -> None:
    """Whatever the form: the key survives, `dl=1` is there once, the rest is gone, and once is enough."""
    link, key = drawn
    once = links.rewrite(link)
    query = parse_qs(urlsplit(once).query)
    assert links.rewrite(once) == once
    assert query == ({"rlkey": [key], "dl": ["1"]} if key else {"dl": ["1"]})
    assert links.parse(link).identity == links.parse(once).identity


@given(share_links())
def test_no_view_of_a_link_shows_its_key(drawn: tuple[str, str | None]) -> None:
    """Neither repr, nor what messages show, nor the identity in a manifest holds what grants access."""
    parsed = links.parse(drawn[0])
    for secret in parsed.secrets:
        assert secret not in repr(parsed) + parsed.shown + parsed.identity


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Draw a share link in which some places were deleted, doubled, or written over."""
    text = draw(share_links())[0]
    odd = st.sampled_from(
        ["?", "&", "=", "\\", "%", "%20", " ", "/", "//", "#", ":", "@", "\0", "\n", "[", "é", "\ud800", ";"]
    )
    for _ in range(draw(st.integers(1, 6))):
        first = draw(st.integers(0, len(text)).map(lambda place, text=text: len(text) - place))  # rarely in the scheme
        last = min(len(text), first + draw(st.integers(0, 12)))
        text = text[:first] + draw(st.one_of(odd, st.just(text[first:last] * 2), st.just(""))) + text[last:]
    return text


@pytest.mark.usefixtures("impatient")
def test_no_mutation_of_a_link_is_a_stack_trace() -> None:
    """Whatever is left of a link: it is fetched, or one error of ours says why not."""
    with serving(Answer(200, b"data")) as (base, _), Client(base) as client:

        @given(mutated())
        def fetch(text: str) -> None:
            with contextlib.suppress(ColabMagicsError):
                link = links.parse(text, dropbox_url=base)
                shown = repr(link) + link.identity
                assert not any(secret in shown for secret in link.secrets)
                for secret in link.secrets:
                    masking.register(secret)
                if links.fetch_address(link, base).startswith(base):
                    with client.open(client.resolve(link)) as response:
                        assert response.answer.size == 4

        fetch()


@given(st.text(max_size=80))
def test_no_text_is_a_stack_trace(text: str) -> None:
    """Any text is understood or is an error of ours."""
    for link in (text, f"https://{text}", f"https://www.dropbox.com/{text}"):
        with contextlib.suppress(LinkError, TokenError):
            links.rewrite(links.rewrite(link))


@pytest.mark.parametrize(
    ("page", "instead"),
    [
        ("https://drive.google.com/file/d/1a2b/view?usp=sharing", "mount_drive"),
        ("https://docs.google.com/spreadsheets/d/1a2b/edit", "mount_drive"),
        ("https://github.com/acme/tools/blob/main/data.csv", "write raw"),
        ("https://github.com/acme/tools", "git_clone"),
        ("https://huggingface.co/datasets/acme/images/blob/main/a.zip", "write resolve"),
        ("https://huggingface.co/acme/model", "snapshot_download"),
        ("https://huggingface.co/acme/model/tree/main", "snapshot_download"),
        ("https://www.kaggle.com/datasets/acme/images", "kagglehub"),
        ("https://1drv.ms/u/s!abc", "choose Download"),
        ("https://acme.sharepoint.com/:u:/g/abc", "choose Download"),
        ("s3://bucket/data.zip", "presigned"),
    ],
)
def test_a_page_that_is_no_file_is_told_what_to_use(page: str, instead: str) -> None:
    """Before anything is asked; in one line."""
    with pytest.raises(LinkError, match=instead) as caught:
        links.parse(page)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co/datasets/acme/images/resolve/main/a.zip",
        "https://github.com/acme/tools/raw/main/data.csv",
        "https://github.com/acme/tools/releases/download/v1/data.zip",
        "https://bucket.s3.amazonaws.com/data.zip?X-Amz-Signature=0123456789abcdef",
        "https://acme.sharepoint.com/data.zip?download=1",
        "https://example.org/drive.google.com/data.zip",
    ],
)
def test_addresses_of_files_elsewhere_work(address: str) -> None:
    assert links.parse(address).url == address


def test_a_path_of_ones_own_dropbox() -> None:
    """As it is written in Dropbox, however many slashes; nothing of it is a secret or a query."""
    link = links.parse("dropbox:projects//one?#2/")
    assert (link.url, link.kind, link.name, link.secrets) == ("dropbox:/projects/one?#2", "account", "one?#2", ())
    assert link.shown == "dropbox:/projects/one?#2"
    assert links.parse("dropbox:/").url == "dropbox:/"
    with pytest.raises(LinkError, match="no path of a Dropbox"):
        links.parse("dropbox:/a/../b")
