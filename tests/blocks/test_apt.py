"""The verb apt: a real apt and dpkg, in a system of their own below a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from scripts import play

from colab_magics.core import bootstrap, read_plan
from colab_magics.errors import PlanError, StepError

if not shutil.which("apt-get"):
    pytest.skip("no apt here", allow_module_level=True)

_CONFIG = """\
Dir "{root}/";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Bin::methods "/usr/lib/apt/methods";
Dir::Bin::dpkg "{dpkg}";
Dir::Etc::sourcelist "{root}/sources.list";
APT::Sandbox::User "";
DPkg::Options {{ "--root={root}"; "--force-not-root"; "--force-script-chrootless"; "--force-bad-path"; }};
Dpkg::Options {{ "--log={root}/log"; }};
"""


def deb(folder: Path, name: str, version: str, more: str = "", ask: bool = False) -> None:
    """Build a package; with `ask` it fails where its configuration script could talk to somebody."""
    control = folder / f"{name}.build" / "DEBIAN"
    control.mkdir(parents=True)
    text = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a test\nDescription: a test\n{more}"
    (control / "control").write_text(text)
    (control.parent / "usr/share" / name).mkdir(parents=True)
    if ask:
        script = control / "postinst"
        script.write_text(
            '#!/bin/sh\ntest "$DEBIAN_FRONTEND" = noninteractive || exit 3\nread -r line && exit 4\nexit 0\n'
        )
        script.chmod(0o755)
    made = folder / f"{name}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", str(control.parent), str(made)], check=True, capture_output=True
    )
    fields = subprocess.check_output(["dpkg-deb", "-f", str(made)], text=True)
    digest = subprocess.check_output(["sha256sum", str(made)], text=True).split()[0]
    with (folder / "Packages").open("a") as index:
        index.write(f"{fields}Filename: ./{made.name}\nSize: {made.stat().st_size}\nSHA256: {digest}\n\n")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with nothing installed, no list of packages yet, and a server's folder with three packages."""
    root, server, bin_ = tmp_path / "root", tmp_path / "server", tmp_path / "bin"
    for name in (
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "var/log/apt",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg/updates",
        "var/lib/dpkg/info",
    ):
        (root / name).mkdir(parents=True)
    for path in (root / "var/lib/dpkg/status", root / "var/lib/dpkg/available"):
        path.touch()
    server.mkdir()
    deb(server, "tool", "1.2-3", "Depends: part\nProvides: any-tool\n", ask=True)
    deb(server, "part", "1.0")
    (root / "sources.list").write_text(f"deb [trusted=yes] file:{server} ./\n")
    (root / "apt.conf").write_text(_CONFIG.format(root=root, dpkg=shutil.which("dpkg")))
    bin_.mkdir()
    sudo = bin_ / "sudo"
    sudo.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/sudo.log\ntest "$1" = -n && shift && exec "$@"\n')
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}:/usr/sbin:/sbin")
    monkeypatch.setenv("APT_CONFIG", str(root / "apt.conf"))
    monkeypatch.setenv("DPKG_ADMINDIR", str(root / "var/lib/dpkg"))
    return root


def installed(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "usr/share").iterdir()) if (root / "usr/share").is_dir() else []


def test_what_is_missing_is_installed_and_a_second_run_starts_no_apt(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lists of packages are fetched because they are missing; nothing asks; what it requires comes with it."""
    assert bootstrap("apt install tool", dry_run=True).steps[0].status == "planned"
    result = bootstrap("apt install -y tool")
    assert (result.steps[0].status, result.steps[0].detail) == ("done", "installed tool")
    assert installed(system) == ["part", "tool"]
    (system.parent / "bin/apt-get").write_text("#!/bin/sh\nexit 7\n")
    (system.parent / "bin/apt-get").chmod(0o755)
    for line in ("apt install tool part", "!apt install tool=1.2-3 any-tool", "apt install tool:all"):
        assert bootstrap(line).steps[0].status == "up-to-date"
    assert bootstrap("apt install tool", dry_run=True).steps[0].status == "up-to-date"
    with pytest.raises(StepError, match="apt could not install tool=9"):
        bootstrap("apt install tool=9")


def test_who_is_not_root_goes_through_sudo_that_never_asks(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its refusal to go on without a password is one line that says what to do."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    bootstrap("apt install part")
    assert (system.parent / "sudo.log").read_text().startswith("-n env DEBIAN_FRONTEND=noninteractive")
    sudo = system.parent / "bin/sudo"
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    with pytest.raises(StepError, match="could not install tool, since sudo would ask for a password; run it once"):
        bootstrap("apt install tool")
    sudo.unlink()
    if not shutil.which("sudo"):
        with pytest.raises(StepError, match="apt needs root, and there is no sudo here"):
            bootstrap("apt install tool")


def test_an_unknown_package_is_named(system: Path) -> None:
    """After the lists were fetched, so that it is no old list's fault."""
    with pytest.raises(StepError, match="could not install nosuch: there is no package nosuch; look it up"):
        bootstrap("apt install nosuch")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("apt update", "write apt install PKG ..."),
        ("apt install", "write apt install PKG ..."),
        ("apt install 'a b'", "'a b' is no name of a package"),
        ("apt install --purge x", "unknown option '--purge'"),
    ],
)
def test_mistakes_are_told_before_anything_runs(line: str, message: str) -> None:
    """One line each."""
    with pytest.raises(PlanError) as caught:
        read_plan(line)
    assert message in str(caught.value)


def test_a_command_that_it_brings_is_not_missed_before() -> None:
    """Without it a command that is not there is told before anything runs."""
    with pytest.raises(PlanError, match="the command 'no-such-tool' was not found"):
        bootstrap("run no-such-tool", dry_run=True)
    assert bootstrap("apt install no-such-tool\nrun no-such-tool", dry_run=True).steps[1].status == "planned"


def test_the_script_does_the_same(system: Path, tmp_path: Path) -> None:
    """Twice: the second time apt is not started."""
    done = play("apt install tool=1.2-3", tmp_path / "x")
    assert (done.status, done.last) == (0, "line 1: apt: installed")
    assert installed(system) == ["part", "tool"]
    assert play("", tmp_path / "x", again=True).last == "line 1: apt: up to date"
