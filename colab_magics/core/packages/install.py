"""Install packages from private git repositories: the calls that the faces make."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence

from colab_magics.core.common import drive
from colab_magics.core.common.progress import SILENT, Progress
from colab_magics.core.common.results import InstallResult
from colab_magics.core.common.settings import Settings
from colab_magics.core.git import lfs
from colab_magics.core.git.auth_retry import CredentialsRetry
from colab_magics.core.git.broker import Broker
from colab_magics.core.git.specs import is_bare, parse_spec
from colab_magics.core.packages import activity, expiry, installed, installers, pip_args, stale_modules
from colab_magics.core.packages.indexes import Indexes
from colab_magics.core.packages.installation import Installation, Item, Options
from colab_magics.core.packages.installers import Installer
from colab_magics.core.secrets import secrets
from colab_magics.errors import InstallError

__all__ = ["install", "pip_install"]


def install(
    specs: Sequence[str],
    *,
    requirements: Sequence[str | os.PathLike[str]] = (),
    editable: bool = False,
    src: str | os.PathLike[str] | None = None,
    upgrade: bool = False,
    force: bool = False,
    no_deps: bool = False,
    token: str | None = None,
    constraints: Sequence[str | os.PathLike[str]] = (),
    index_url: str | None = None,
    extra_index_urls: Sequence[str] = (),
    dry_run: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> InstallResult:
    """Install packages from private git repositories into this interpreter's environment.

    Parameters
    ----------
    specs : sequence of str
        As `colab_magics.core.git.specs.parse_spec` takes them; several are one installation.
    requirements : sequence of path-like, optional
        Requirements files that are installed together with them.
    editable : bool, optional
        Clone into a folder beside the notebook and install in place; a folder is installed where it lies.
    src : path-like, optional
        The folder that clones go into, by default ``src``.
    upgrade, force, no_deps : bool, optional
        As pip's ``--upgrade``, ``--force-reinstall`` and ``--no-deps``.
    token : str, optional
        ``secret:NAME`` of the token for the hosts that the specs name.
    constraints : sequence of path-like, optional
        Constraints files, as pip's ``--constraint``.
    index_url : str, optional
        The index in place of PyPI; the password for its host is looked up as a git host's token is.
    extra_index_urls : sequence of str, optional
        Indexes beside it.
    dry_run : bool, optional
        Ask what the refs are, install nothing.
    settings : Settings, optional
        By default read from the environment.
    progress : Progress, optional
        Hears what is going on.

    Returns
    -------
    InstallResult

    Raises
    ------
    TokenError
        When a token is missing, refused, or was typed itself.
    InstallError
        When there is no such repository or ref, no access, no network, or a build failed.

    Examples
    --------
    >>> from colab_magics import core, sandbox
    >>> with sandbox.start() as box:
    ...     repo = box.private_repo("acme/secretlib", tag="v1.0")
    ...     result = core.install([f"{repo.spec}@v1.0"], dry_run=True)
    >>> result.status, result.packages[0].name, result.packages[0].commit == "not yet"
    ('planned', 'secretlib', False)
    """
    settings = settings or Settings.load()
    began = time.monotonic()
    secrets.refuse_literal(
        [
            *specs,
            index_url or "",
            *extra_index_urls,
            *(os.fspath(path) for path in requirements),
            token or "",
            os.fspath(src or ""),
        ]
    )
    if token is not None and not token.startswith("secret:"):
        secrets.refuse_token_argument(token)
    options = Options(
        token=token,
        src=drive.expand(src, settings) if src else None,
        upgrade=upgrade,
        force=force,
        no_deps=no_deps,
        dry_run=dry_run,
        constraints=tuple(drive.expand(path, settings).absolute() for path in constraints),
        index_url=index_url,
        extra_index_urls=tuple(extra_index_urls),
    )
    for path in options.constraints:
        if not path.is_file():
            raise InstallError(f"the constraints file {str(path)!r} does not exist; correct it, or sync it first")
    files = [drive.expand(path, settings) for path in requirements]
    items = _items(specs, settings, editable=editable)
    if not items and not files:
        raise InstallError("nothing to install; give org/repo, or -r FILE")
    result = Installation(items, files, options, settings, progress).run()
    for note in expiry.notes():
        progress.say(note)
    result.seconds = time.monotonic() - began
    return result


def pip_install(arguments: Sequence[str], *, settings: Settings | None = None, progress: Progress = SILENT) -> None:
    """Run ``pip install`` with the given arguments; private repositories in them install with the token too.

    Raises
    ------
    InstallError, TokenError
        When it failed; has the last lines of what it said.
    """
    settings = settings or Settings.load()
    secrets.refuse_literal(arguments)
    retry, asked, indexes = CredentialsRetry(settings), pip_args.parse(arguments), Indexes(settings)
    installer = installers.choose(settings.installer, indexes, asked)
    if installer.uv and not installer.is_told and installers.has_pip():
        installer = Installer()
    before = installed.snapshot()
    with Broker(retry.credentials([])) as broker, tempfile.TemporaryDirectory(prefix="colab_magics-") as scratch:

        def run() -> None:
            env = {**indexes.environment(broker), "TMPDIR": scratch}
            told = activity.teller(progress)
            progress.begin("installing")
            try:
                done = installer.run(asked.targets if installer.is_told else arguments, env, told)
                if done.status and installer.uv and installers.has_pip():
                    done = Installer().run(arguments, env, told)
            finally:
                progress.end()
            installers.check(done, "pip install", None, broker)

        retry.run(broker, run)
    stale_modules.activate_user_site()
    after = installed.snapshot()
    stale_modules.activate(before, after)
    for key, dist in after.items():
        if before.get(key) != dist and dist.commit and (files := lfs.pointers(dist.place)):
            progress.say(lfs.warning(dist.name, files))


def _items(specs: Sequence[str], settings: Settings, *, editable: bool) -> list[Item]:
    owner = secrets.default_owner(settings) if any(map(is_bare, specs)) else None
    host, name = owner or ("github.com", None)
    return [Item(parse_spec(spec, owner=name, owner_host=host), editable=editable) for spec in specs]
