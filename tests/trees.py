"""What shared folders and DESTs hold in the tests of a sync."""

from __future__ import annotations

from pathlib import Path

from colab_magics.sandbox import Sandbox

BACKUP = ".colab_magics/backup"

WHOLE = {"a.txt": "a", "empty/": "", "sub/": "", "sub/b.csv": "b" * 5000}


def fill(folder: Path, files: dict[str, str]) -> None:
    """Write files; a name that ends with a slash is a folder."""
    for name, text in files.items():
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(text)


def tree(folder: str | Path) -> dict[str, str]:
    """Return what a DEST holds, without what syncs keep in it."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(".colab_magics"):
            found[name + "/" * path.is_dir()] = path.read_text() if path.is_file() else ""
    return found


def asked(box: Sandbox) -> int:
    """Return how many requests there were since this was called last."""
    count = len(box.requests)
    box.clear_requests()
    return count


def key_of(link: str) -> str:
    return link.partition("rlkey=")[2].partition("&")[0]
