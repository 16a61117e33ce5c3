"""What a person types for a package."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colab_magics import masking
from colab_magics.core.git.specs import Spec, canonical, is_bare, parse_spec
from colab_magics.errors import InstallError, TokenError

GITHUB = "github.com"


@pytest.mark.parametrize(
    ("text", "host", "path", "ref", "extras", "subdirectory"),
    [
        ("acme/lib", GITHUB, "acme/lib", None, (), None),
        ("lib", GITHUB, "me/lib", None, (), None),
        ("lib@feature/x", GITHUB, "me/lib", "feature/x", (), None),
        ("lib[gpu]@v1", GITHUB, "me/lib", "v1", ("gpu",), None),
        ("acme/lib@v1.2", GITHUB, "acme/lib", "v1.2", (), None),
        ("acme/lib@feature/new-thing", GITHUB, "acme/lib", "feature/new-thing", (), None),
        ("acme/lib@refs/pull/7/head", GITHUB, "acme/lib", "refs/pull/7/head", (), None),
        ("acme/lib@3f2a9c1", GITHUB, "acme/lib", "3f2a9c1", (), None),
        ("acme/lib[a,b]@v1", GITHUB, "acme/lib", "v1", ("a", "b"), None),
        ("acme/lib[ b , a ]", GITHUB, "acme/lib", None, ("a", "b"), None),
        ("acme/lib@v1[a]", GITHUB, "acme/lib", "v1", ("a",), None),
        ("acme/lib#subdirectory=pkg/core", GITHUB, "acme/lib", None, (), "pkg/core"),
        ("acme/lib[x]@main#egg=lib&subdirectory=pkg", GITHUB, "acme/lib", "main", ("x",), "pkg"),
        ("acme/lib#subdirectory=.", GITHUB, "acme/lib", None, (), None),
        ("github.com/acme/lib", GITHUB, "acme/lib", None, (), None),
        ("gitlab.example.org/group/sub/lib@v1", "gitlab.example.org", "group/sub/lib", "v1", (), None),
        ("127.0.0.1:8000/acme/lib", "127.0.0.1:8000", "acme/lib", None, (), None),
        ("localhost:8000/acme/lib@v1", "localhost:8000", "acme/lib", "v1", (), None),
        ("https://github.com/acme/lib", GITHUB, "acme/lib", None, (), None),
        ("https://github.com/acme/lib.git", GITHUB, "acme/lib", None, (), None),
        ("https://GitHub.com/acme/lib.git@v1[x]", GITHUB, "acme/lib", "v1", ("x",), None),
        ("https://me@bitbucket.org/acme/lib.git", "bitbucket.org", "acme/lib", None, (), None),
        ("git+https://github.com/acme/lib.git@v1#egg=lib", GITHUB, "acme/lib", "v1", (), None),
        ("http://127.0.0.1:8000/acme/lib", "127.0.0.1:8000", "acme/lib", None, (), None),
        ("git@github.com:acme/lib", GITHUB, "acme/lib", None, (), None),
        ("git@gitlab.com:group/sub/lib.git@v1", "gitlab.com", "group/sub/lib", "v1", (), None),
        ("git+ssh://git@github.com/acme/lib.git@v1", GITHUB, "acme/lib", "v1", (), None),
        # The port of ssh is not that of https; on this machine it says which server is meant.
        ("ssh://git@git.example.org:2222/acme/lib.git", "git.example.org", "acme/lib", None, (), None),
        ("ssh://git@127.0.0.1:8000/acme/lib", "127.0.0.1:8000", "acme/lib", None, (), None),
        ("ssh://git@ssh.github.com:443/acme/lib.git", GITHUB, "acme/lib", None, (), None),
        ("git@ssh.dev.azure.com:v3/org/proj/lib", "dev.azure.com", "org/proj/_git/lib", None, (), None),
        ("https://org@dev.azure.com/org/My%20Proj/_git/lib", "dev.azure.com", "org/My%20Proj/_git/lib", None, (), None),
        # What is copied from a browser.
        ("https://github.com/acme/lib/tree/feature/x", GITHUB, "acme/lib", "feature/x", (), None),
        ("https://github.com/acme/lib/commit/3f2a9c1", GITHUB, "acme/lib", "3f2a9c1", (), None),
        ("https://github.com/acme/lib/pull/7/files", GITHUB, "acme/lib", "refs/pull/7/head", (), None),
        ("github.com/acme/lib/releases/tag/v1", GITHUB, "acme/lib", "v1", (), None),
        ("https://gitlab.com/group/sub/lib/-/tree/main", "gitlab.com", "group/sub/lib", "main", (), None),
    ],
)
def test_every_form_of_a_repository(
    text: str, host: str, path: str, ref: str | None, extras: tuple[str, ...], subdirectory: str | None
) -> None:
    """Each way of naming a repository means host, path, ref, extras and part."""
    assert parse_spec(text, owner="me") == Spec(text, host, path, ref, extras, subdirectory)


def test_a_bare_repository_is_where_its_owner_is() -> None:
    """The owner's host counts for a bare name only."""
    assert parse_spec("lib", owner="me", owner_host="git.example.org").url == "https://git.example.org/me/lib.git"
    assert parse_spec("acme/lib", owner="me", owner_host="git.example.org").host == GITHUB
    for bare in ("lib", "lib@feature/x", "lib[gpu]@v1", "lib#subdirectory=a/b"):
        assert is_bare(bare)
    for whole in ("acme/lib", "git@github.com:acme/lib", "./lib", "drive:lib", "https://github.com/lib", "~/lib"):
        assert not is_bare(whole)


@pytest.mark.parametrize(
    ("text", "path", "extras"),
    [
        ("./pkg", "./pkg", ()),
        (".", ".", ()),
        ("..", "..", ()),
        (".[dev]", ".", ("dev",)),
        ("../pkg[a,b]", "../pkg", ("a", "b")),
        ("/content/pkg", "/content/pkg", ()),
        ("~/pkg", "~/pkg", ()),
        ("drive:code/pkg", "drive:code/pkg", ()),
        ("./a@b", "./a@b", ()),
    ],
)
def test_every_form_of_a_folder(text: str, path: str, extras: tuple[str, ...]) -> None:
    """A folder is recognised by how it begins, and asks for no host."""
    spec = parse_spec(text)
    assert spec.is_folder
    assert (spec.path, spec.extras, spec.ref) == (path, extras, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lib", "whose 'lib'"),
        ("acme/lib/more", "names no repository"),
        ("acme/..", "names no repository"),
        ("acme/-lib", "names no repository"),
        ("gitlab.example.org/lib", "names no repository"),
        ("", "names no repository"),
        ("a b/c", "names no repository"),
        ("https://exa mple.org/a/b", "names no repository"),
        ("https://github.com/acme", "names no repository"),
        ("https://host%0a.example.org/a/b", "names no repository"),
        ("https://github.com/acme/lib?tab=readme", "names no repository"),
        ("http://github.com/acme/lib", "only sent over https"),
        ("git://github.com/acme/lib", "only sent over https"),
        ("http://127.0.0.1.evil.example/acme/lib", "only sent over https"),
        ("acme/lib#subdirectory=../other", "leaves the repository"),
        ("acme/lib#subdirectory=/etc", "leaves the repository"),
        ("acme/lib#branch=main", "'branch' is unknown"),
        ("acme/lib@--upload-pack=x", "cannot be the name"),
        ("acme/lib@a..b", "cannot be the name"),
        ("acme/lib@HEAD~1", "cannot be the name"),
        ("acme/lib@v1.lock", "cannot be the name"),
    ],
)
def test_what_is_no_repository_says_what_is(text: str, message: str) -> None:
    """Anything else is an error that says what is wrong or which forms there are."""
    with pytest.raises(InstallError, match=message):
        parse_spec(text)


@pytest.mark.parametrize(
    "address",
    [
        "https://ghp_0123456789abcdefghijklmnopqrstuvwxyz@github.com/acme/lib",
        "https://me:hunter2hunter2@github.com/acme/lib",
        "git+https://0123456789abcdef0123456789abcdef01234567@github.com/acme/lib",
        "https://oauth2:glpat-0123456789abcdefghij@gitlab.com/acme/lib",
    ],
)
def test_a_token_in_an_address_is_refused(address: str) -> None:
    """The message says to revoke it, does not hold it, and it is masked from then on."""
    token = address.partition("://")[2].partition("@")[0].rpartition(":")[2]
    with pytest.raises(TokenError, match="revoke") as caught:
        parse_spec(address)
    assert token not in repr(caught.value)
    assert token not in masking.redact(f"x {token} y")


def test_addresses_carry_no_credentials_and_plain_http_is_for_loopback() -> None:
    """What git is given is https, but for this machine, and has .git wherever the host knows it."""
    assert parse_spec("https://me@bitbucket.org/a/b").url == "https://bitbucket.org/a/b.git"
    assert parse_spec("127.0.0.1:80/a/b").url == "http://127.0.0.1:80/a/b.git"
    assert parse_spec("127.0.0.1.evil.example/a/b").url == "https://127.0.0.1.evil.example/a/b.git"
    assert parse_spec("dev.azure.com/o/p/_git/r").url == "https://dev.azure.com/o/p/_git/r"


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/lib",
        "https://github.com/Acme/Lib.git",
        "git+https://user@github.com/acme/lib.git",
        "ssh://git@github.com/acme/lib.git",
        "git+ssh://git@github.com:22/acme/lib",
        "git@github.com:acme/lib.git",
        "ssh://git@ssh.github.com:443/acme/lib/",
    ],
)
def test_all_addresses_of_a_repository_are_equal(url: str) -> None:
    """Scheme, user, suffix and case make no difference."""
    assert canonical(url) == "github.com/acme/lib"


def test_any_address_has_a_canonical_form() -> None:
    """What other tools recorded never fails, whatever its scheme."""
    for url in ("http://example.org/x.whl", "file:///content/pkg", "", "svn+ssh://h/x", "https://h"):
        assert isinstance(canonical(url), str)


_word = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", fullmatch=True).filter(
    lambda word: not word.endswith((".git", ".lock", ".")) and ".." not in word
)
_ref = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}(/[A-Za-z0-9_-]{1,8})?", fullmatch=True)


@given(
    _word.filter(lambda word: "." not in word),
    _word,
    st.none() | _ref,
    st.lists(st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), unique=True, max_size=3),
)
def test_the_forms_of_one_repository_mean_the_same(owner: str, repo: str, ref: str | None, extras: list[str]) -> None:
    """org/repo, HOST/org/repo, https:// and git@ agree on everything, and reading the address again changes nothing."""
    tail = (f"[{','.join(extras)}]" if extras else "") + (f"@{ref}" if ref else "")
    short = parse_spec(f"{owner}/{repo}{tail}")
    for form in (f"{GITHUB}/{owner}/{repo}", f"https://{GITHUB}/{owner}/{repo}.git", f"git@{GITHUB}:{owner}/{repo}"):
        other = parse_spec(form + tail)
        assert (other.url, other.ref, other.extras) == (short.url, short.ref, short.extras)
        assert canonical(other.url) == canonical(short.url)
    assert (short.ref, short.extras) == (ref, tuple(sorted(extras)))
    assert parse_spec(short.url).url == short.url


@given(st.text(max_size=40))
def test_any_text_is_a_spec_or_a_plain_error(text: str) -> None:
    """Nothing typed fails in another way, and no address leaves its scheme, host and path."""
    try:
        spec = parse_spec(text, owner="me")
    except (InstallError, TokenError):
        return
    if not spec.is_folder:
        assert spec.url.startswith((f"https://{spec.host}/", f"http://{spec.host}/"))
        assert not set(spec.url) & set(" \n\r\t@'\"\\")
