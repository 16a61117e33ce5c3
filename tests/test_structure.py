"""The arrows between the packages go one way, and front ends import nothing but the core's public API."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import colab_magics

ROOT = Path(colab_magics.__file__).parent
#: From the top: a package imports only from the lines below its own. `*` stands for every front end.
LAYERS = (
    ("*",),
    ("core",),
    ("core.cluster",),
    ("sandbox", "core.blocks"),
    ("core.syncing", "core.packages", "core.keeping"),
    ("core.dropbox",),
    ("core.git", "core.http"),
    ("core.secrets", "core.archives"),
    ("core.common",),
    ("errors",),
    ("masking",),
)
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
#: What does not hold yet, as "importer imported". To be emptied: a line that is no longer true fails.
KNOWN: set[str] = set()


def package_of(module: str) -> str:
    """Name the package of `LAYERS` that a module, without `colab_magics.`, is part of."""
    parts = module.split(".")
    return next((name for name in (".".join(parts[:2]), parts[0]) if name in LEVEL), "*")


@cache
def imports() -> list[tuple[str, str]]:
    """List what imports what of ours, wherever the statement stands; both without `colab_magics.`."""
    found = set()
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found |= {(module, name) for name in imported(ast.parse(path.read_text("utf-8")))}
    prefix = "colab_magics."
    return sorted((module, name.removeprefix(prefix)) for module, name in found if name.startswith(prefix))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_allowed(importer: str, name: str) -> bool:
    above, below = package_of(importer), package_of(name)
    if above == below:
        return True
    # The public API is what colab_magics.core names; all else in it is the core's own.
    if above == "*" and below.startswith("core"):
        return name == "core" or (name.count(".") == 1 and name.removeprefix("core.") in colab_magics.core.__all__)
    # The stand-ins share no code with what is tried on them, but for the list of a secret's encodings.
    if above == "sandbox":
        return below == "masking"
    return LEVEL[above] < LEVEL[below]


def test_imports_follow_the_arrows() -> None:
    """What is imported lies below; what is known not to, is listed, and nothing else is."""
    wrong = {
        f"{importer if package_of(importer) == '*' else package_of(importer)} {package_of(name)}"
        for importer, name in imports()
        if not is_allowed(importer, name)
    }
    assert sorted(wrong - KNOWN) == [], "these go against the arrows (see CONTRIBUTING.md)"
    assert sorted(KNOWN - wrong) == [], "these hold now: take them off the list"


def test_the_core_neither_prints_nor_knows_ipython() -> None:
    """A front end shows; the core returns, raises and reports progress, and leaves the garbage collector as it is."""
    for path in sorted((ROOT / "core").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        names = {name.split(".")[0] for name in imported(tree)}
        assert not names & {"IPython", "gc", "ipykernel", "ipywidgets"}, path
        assert not any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(tree)), path
