"""Requirements files, read as pip reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from colab_magics.core.packages import requirements
from colab_magics.core.packages.requirements import read
from colab_magics.errors import InstallError, TokenError


def write(text: str, name: str = "r.txt") -> Path:
    """Write a file."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "url", "ref", "name", "extras", "subdirectory"),
    [
        ("git+https://github.com/a/b", "https://github.com/a/b.git", None, None, (), None),
        ("git+https://github.com/a/b.git@v1", "https://github.com/a/b.git", "v1", None, (), None),
        ("git+https://github.com/a/b@f/x#egg=c", "https://github.com/a/b.git", "f/x", "c", (), None),
        (
            "git+https://github.com/a/b#egg=c[x,y]&subdirectory=d",
            "https://github.com/a/b.git",
            None,
            "c",
            ("x", "y"),
            "d",
        ),
        ("c @ git+https://github.com/a/b@v1", "https://github.com/a/b.git", "v1", "c", (), None),
        ("c[x] @ git+ssh://git@github.com/a/b.git@v1", "https://github.com/a/b.git", "v1", "c", ("x",), None),
        ("c@git+https://github.com/a/b ; python_version > '3'", "https://github.com/a/b.git", None, "c", (), None),
        ("git+git@github.com:a/b.git@v1", "https://github.com/a/b.git", "v1", None, (), None),
        ("git+https://${TOKEN}@github.com/a/b", "https://github.com/a/b.git", None, None, (), None),
        ("git+https://oauth2:${TOKEN}@gitlab.com/g/s/b", "https://gitlab.com/g/s/b.git", None, None, (), None),
        ("git+https://me@bitbucket.org/a/b", "https://bitbucket.org/a/b.git", None, None, (), None),
    ],
)
def test_a_line_that_names_a_repository(
    line: str, url: str, ref: str | None, name: str | None, extras: tuple[str, ...], subdirectory: str | None
) -> None:
    """Each way of writing one, without the credentials that it does not need."""
    found = read(write(line))
    [repository] = found.repositories
    spec = repository.spec
    assert (spec.url, spec.ref, repository.name) == (url, ref, name)
    assert (spec.extras, spec.subdirectory) == (extras, subdirectory)
    assert found.others == []


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy>=1,<3 ; python_version > '3'",
        "./folder",
        "-e ./folder",
        "-e git+http://example.org/a/b#egg=c",
        "https://example.org/x-1.0.whl",
        "x @ https://example.org/x-1.0.whl",
        "git+http://example.org/a/b",
        "git+file:///srv/git/a",
        "--index-url https://example.org/simple",
        "-r https://example.org/r.txt",
        "six==1.16 --hash=sha256:aa --hash=sha256:bb",
    ],
)
def test_every_other_line_is_the_installers(line: str) -> None:
    """It is passed on as it is."""
    found = read(write(f"# comment\n\n{line}  # why\n"))
    assert (found.repositories, found.others) == ([], [line])


@pytest.mark.parametrize("option", ["-e ", "-e", "--editable ", "--editable="])
def test_a_repository_may_be_developed_in_place(option: str) -> None:
    """However pip's option is written."""
    [repository] = read(write(f"{option}git+ssh://git@github.com/a/b@v1#egg=c")).repositories
    assert (repository.spec.url, repository.spec.ref) == ("https://github.com/a/b.git", "v1")
    assert (repository.name, repository.editable) == ("c", True)
    assert not read(write("git+https://github.com/a/b")).repositories[0].editable


def test_a_marker_that_excludes_a_repository_leaves_it_out() -> None:
    """Here and now."""
    found = read(
        write("git+https://github.com/a/b ; python_version < '3'\nc @ git+https://github.com/a/c ; extra == 'x'")
    )
    assert (found.repositories, found.others) == ([], [])


def test_files_in_files() -> None:
    """-r and -c are relative to the file that they stand in; constraints and find-links become absolute."""
    write("two\n-c limits.txt\n--find-links wheels\n-rthird.txt", "sub/more.txt")
    write("three", "sub/third.txt")
    Path("sub/wheels").mkdir()
    found = read(write("one\n--requirement=sub/more.txt\n--constraint sub/limits.txt\n"))
    here = Path.cwd()
    assert found.others == [
        "one",
        "two",
        f"--constraint {here}/sub/limits.txt",
        f"--find-links {here}/sub/wheels",
        "three",
        f"--constraint {here}/sub/limits.txt",
    ]
    assert found.names == ["one", "two", "three"]


def test_lines_are_joined_and_comments_go() -> None:
    """A backslash continues a line; a number sign inside an address is none of a comment."""
    path = write("a \\\n  >= 1\n  # all of it\nb # c\nd @ https://x.org/d.zip#egg=d\ne \\\n# inside\nf\n\ng\\")
    assert list(requirements.lines(path)) == ["a   >= 1", "b", "d @ https://x.org/d.zip#egg=d", "e", "f", "g"]


def test_what_is_wrong_with_a_file_is_said() -> None:
    """One that is not there, not text, in a circle, or with a token in it."""
    with pytest.raises(InstallError, match=r"'r.txt' does not exist"):
        read(Path("r.txt"))
    with pytest.raises(InstallError, match=r"'none.txt' \(named in .*r.txt'\) does not exist"):
        read(write("-r none.txt"))
    with pytest.raises(InstallError, match="names itself"):
        read(write("-r ./r.txt"))
    Path("r.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InstallError, match="not text of its encoding"):
        read(Path("r.txt"))
    Path("r.txt").write_text("one>=1\n", "utf-16-le")
    with pytest.raises(InstallError, match="not text of its encoding"):
        read(Path("r.txt"))
    token = "glpat-0123456789abcdefghij"
    with pytest.raises(TokenError, match=r"'r.txt': revoke it") as caught:
        read(write(f"x @ git+https://oauth2:{token}@gitlab.com/a/b"))
    assert token not in repr(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "cp1252"])
def test_a_file_is_text_of_the_encoding_that_pip_reads_it_in(encoding: str) -> None:
    """With a mark at its beginning, as an editor or PowerShell writes it, or named in its first lines."""
    head = "" if encoding.startswith("utf") else f"# -*- coding: {encoding} -*-\n"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    Path("r.txt").write_text(f"{mark}{head}one>=1  # größer\n", encoding)
    assert read(Path("r.txt")).others == ["one>=1"]
