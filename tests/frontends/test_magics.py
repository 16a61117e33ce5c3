"""The IPython face, in a real shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from shells import real_shell

import colab_magics
from colab_magics import core, sandbox
from colab_magics.errors import LayoutError, LinkError, StepError, TokenError

MAGICS = {"line": {"dropbox_sync", "private_pip", "mount_drive", "symlink"}, "cell": {"bootstrap"}}


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    with real_shell() as shell:
        shell.run_line_magic("load_ext", "colab_magics")
        yield shell


def run(shell: InteractiveShell, source: str) -> object:
    """Run a cell, let its error through, and return its value."""
    result = shell.run_cell(source)
    result.raise_error()
    return result.result


def registered(shell: InteractiveShell) -> dict[str, set[str]]:
    known = shell.magics_manager.magics
    return {kind: names & set(known[kind]) for kind, names in MAGICS.items()}


def test_loading_registers_every_magic_and_unloading_removes_them() -> None:
    """The five magics are there after %load_ext and gone after %unload_ext; loading again works."""
    with real_shell() as shell:
        assert registered(shell) == {"line": set(), "cell": set()}
        for _ in range(2):
            shell.run_line_magic("load_ext", "colab_magics")
            assert registered(shell) == MAGICS
            shell.run_line_magic("unload_ext", "colab_magics")
            assert registered(shell) == {"line": set(), "cell": set()}
            assert not [known for known in shell.configurables if type(known).__name__ == "ColabMagics"]


def test_reloading_leaves_one_set_of_traits() -> None:
    """%reload_ext replaces the magics instead of adding a second set that %config would find first."""
    with real_shell() as shell:
        shell.run_line_magic("load_ext", "colab_magics")
        shell.run_line_magic("reload_ext", "colab_magics")
        assert len([known for known in shell.configurables if type(known).__name__ == "ColabMagics"]) == 1
        assert registered(shell) == MAGICS


def test_loading_imports_nothing_heavy() -> None:
    """Until a magic is used, neither the network libraries nor Google's are imported."""
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "before = set(sys.modules)\n"
        "shell.run_line_magic('load_ext', 'colab_magics')\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(' '.join(sorted(new & {'requests', 'urllib3', 'tqdm', 'google', 'filelock', 'packaging',"
        " 'platformdirs', 'colab_magics'})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["colab_magics"]


@pytest.mark.parametrize("name", sorted(MAGICS["line"]))
def test_help_shows_the_options_and_an_example(
    shell: InteractiveShell, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """-h prints the page that magic? shows, and does nothing else."""
    assert run(shell, f"%{name} -h") is None
    shown = capsys.readouterr().out
    assert "example:" in shown
    assert f"%{name}" in shown
    assert "--dry-run" in shown
    page = shell.object_inspect(f"%{name}")
    assert page["docstring"].strip() == shown.strip()


def test_bootstrap_help_is_shown_even_with_an_empty_block(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Colab pads an empty body with a space; the help comes all the same."""
    run(shell, "%%bootstrap -h\n ")
    assert "dropbox_sync secret:DATASET_LINK" in capsys.readouterr().out


def test_a_sync_returns_a_result_and_prints_one_line(
    shell: InteractiveShell, box: sandbox.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """x = %dropbox_sync gives the result; what a person sees is one line, without the link's key."""
    (box.folder("data") / "a.txt").write_text("a")
    shell.user_ns["LINK"] = link = box.folder_link("data")
    result = run(shell, "x = %dropbox_sync $LINK proj\nx")
    assert isinstance(result, core.SyncResult)
    assert result.added == ["a.txt"]
    assert os.fspath(result) == "proj"
    assert Path("proj/a.txt").read_text() == "a"
    shown = capsys.readouterr().out
    assert shown.count("1 added") == 2, "the magic's line, and the repr of x"
    assert link.partition("rlkey=")[2].partition("&")[0] not in shown


def test_a_result_is_shown_once_as_the_value_of_its_cell_and_again_when_asked_for(
    shell: InteractiveShell, box: sandbox.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The magic's own line is enough in its cell; a later cell that names the result shows its repr."""
    (box.folder("data") / "a.txt").write_text("a")
    shell.user_ns["LINK"] = box.folder_link("data")
    run(shell, "%dropbox_sync $LINK proj")
    out = capsys.readouterr().out
    assert out.count("proj: 1 added") == 1
    assert "Out[" not in out
    run(shell, "x = _")
    capsys.readouterr()
    run(shell, "x")
    assert "proj: 1 added" in capsys.readouterr().out


def test_a_magics_lines_are_shown_once_wherever_it_stands(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone, before other lines, kept in a variable, in a function; what names it again shows it again."""
    Path("data").mkdir()
    for source, times in (
        ("%symlink data one", 1),
        ("%symlink data two\n1", 1),
        ("three = %symlink data three", 1),
        ("four = %symlink data four\nfour", 2),
        ("five = %symlink data five\nfive.path;", 1),
        ("def make():\n    return get_ipython().run_line_magic('symlink', 'data six')\nkept = make()", 1),
        ("%symlink -q data seven", 0),
        ("%time %symlink data eight", 1),
        ("%%time\n1\n%symlink data nine", 1),
        ("ten = %time %symlink data ten\nten", 2),
        ('%time eleven = eval(\'get_ipython().run_line_magic("symlink", "data eleven")\')\neleven', 2),
        ("%symlink data twelve;", 1),
    ):
        hook, printers = sys.displayhook, dict(shell.display_formatter.ipython_display_formatter.singleton_printers)
        run(shell, source)
        assert capsys.readouterr().out.count("-> data") == times, source
        assert not Path("twelve;").is_symlink()
        assert sys.displayhook is hook
        assert shell.display_formatter.ipython_display_formatter.singleton_printers == printers


def test_values_are_put_in_where_it_is_known_what_was_quoted(shell: InteractiveShell) -> None:
    """A value is one word and is not read again; single quotes keep a dollar; a function's own names count."""
    Path("it's a b").mkdir()
    shell.user_ns |= {"b": "B", "name": "it's a b"}
    run(shell, "%symlink $name 'a$b'")
    assert Path("a$b").is_symlink()
    run(shell, "def link(place):\n    %symlink {name} $place\nlink('from a function')")
    assert Path("from a function").is_symlink()


def test_quiet_prints_nothing(
    shell: InteractiveShell, box: sandbox.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """-q leaves only errors, and the result."""
    (box.folder("data") / "a.txt").write_text("a")
    shell.user_ns["LINK"] = box.folder_link("data")
    result = run(shell, "x = %dropbox_sync -q $LINK proj")
    assert capsys.readouterr().out == ""
    assert shell.user_ns["x"].added == ["a.txt"]
    assert result is None


def test_a_dry_run_lists_the_changes_and_makes_none(
    shell: InteractiveShell, box: sandbox.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """-n says what would be added, and DEST does not appear."""
    (box.folder("data") / "a.txt").write_text("a")
    shell.user_ns["LINK"] = box.folder_link("data")
    run(shell, "x = %dropbox_sync -n $LINK proj")
    assert shell.user_ns["x"].status == "planned"
    assert "+ a.txt" in capsys.readouterr().out
    assert not Path("proj").exists()


def test_an_error_is_one_plain_line_and_a_real_error(
    shell: InteractiveShell, box: sandbox.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failed magic stops the run with its own exception; a person sees its line and no stack."""
    link = box.folder_link("data")
    box.fail(link, page="gone")
    shell.user_ns["LINK"] = link
    result = shell.run_cell("%dropbox_sync $LINK proj")
    assert isinstance(result.error_in_exec, LinkError)
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert "LinkError: " in shown
    assert "is gone" in shown
    assert "Traceback" not in shown
    assert ".py" not in shown
    assert link.partition("rlkey=")[2].partition("&")[0] not in shown
    assert not Path("proj").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("%dropbox_sync", "missing: LINK"),
        ("%dropbox_sync a b c", "unknown argument 'c'"),
        ("%dropbox_sync https://www.dropbox.com/s/a/b --onec", "did you mean '--once'"),
        ("%dropbox_sync --once --mirror x", "exclude each other; leave one out"),
        ("%dropbox_sync 'x", "the quote ' is not closed"),
        ("%dropbox_sync $NOWHERE_DEFINED proj", "unknown variable $NOWHERE_DEFINED"),
        ("%symlink one", "missing: LINK"),
        ("%%bootstrap --bogus\nrun true", "unknown option '--bogus'"),
        ("%%bootstrap\n ", "no steps"),
    ],
)
def test_bad_arguments_are_a_usage_error(
    shell: InteractiveShell, source: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with a call comes as IPython's own UsageError, in one line that names the help."""
    result = shell.run_cell(source)
    assert type(result.error_in_exec).__name__ == "UsageError"
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_a_typed_token_is_refused_and_masked(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """A literal token gets the advice to revoke it, and is shown nowhere from then on."""
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    for source in (f"%private_pip --token {token} acme/lib", f"%private_pip https://{token}@github.com/acme/lib"):
        result = shell.run_cell(source)
        assert isinstance(result.error_in_exec, TokenError)
        captured = capsys.readouterr()
        assert "revoke" in captured.out + captured.err
        assert token not in captured.out + captured.err
    from colab_magics import masking

    assert token not in masking.redact(f"x {token} y")


def test_symlink_returns_where_the_link_is(shell: InteractiveShell) -> None:
    """x = %symlink gives a result that is a path."""
    Path("dataset").mkdir()
    run(shell, "x = %symlink dataset proj/data/input")
    result = shell.user_ns["x"]
    assert os.fspath(result) == "proj/data/input"
    assert Path("proj/data/input").resolve() == Path("dataset").resolve()
    assert result.status == "linked"


def test_mount_drive_returns_the_configured_folder(tmp_path: Path) -> None:
    """Elsewhere than on Colab the drive is the configured folder, and without one the error is one line."""
    with real_shell(drive_root=str(tmp_path)) as shell:
        shell.run_line_magic("load_ext", "colab_magics")
        run(shell, "x = %mount_drive -q")
        assert shell.user_ns["x"] == tmp_path
    with real_shell() as shell:
        shell.run_line_magic("load_ext", "colab_magics")
        result = shell.run_cell("%mount_drive")
        assert isinstance(result.error_in_exec, LayoutError)
        assert len(str(result.error_in_exec).splitlines()) == 1


def test_a_trait_wins_over_the_environment_and_a_call_over_the_trait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Precedence: the call, the trait, the environment, the default."""
    monkeypatch.setenv("COLAB_MAGICS_TOKEN_FILE", str(tmp_path / "environment.json"))
    with real_shell() as shell:
        shell.run_line_magic("load_ext", "colab_magics")
        for place, command in (
            ("environment.json", "%private_pip acme/x"),
            ("trait.json", "%private_pip acme/x"),
            ("call.json", f"%private_pip --token-file {tmp_path}/call.json acme/x"),
        ):
            if place == "trait.json":
                run(shell, f"%config ColabMagics.token_file = {str(tmp_path / place)!r}")
            result = shell.run_cell(command)
            assert isinstance(result.error_in_exec, TokenError)
            assert place in str(result.error_in_exec)


def test_config_lists_the_traits(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """%config ColabMagics shows every trait of the contract with its help."""
    run(shell, "%config ColabMagics")
    shown = capsys.readouterr().out
    for name in ("token_file", "drive_root", "jobs", "quiet", "mask", "installer", "env", "dropbox_url"):
        assert f"ColabMagics.{name}" in shown


def test_secret_reads_with_the_loaded_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """colab_magics.secret looks where the magics look, and masks what it returns."""
    file = tmp_path / "tokens.json"
    file.write_text('{"secrets": {"WANDB_KEY": "wandb-0123456789"}}')
    with real_shell(token_file=str(file)) as shell:
        shell.run_line_magic("load_ext", "colab_magics")
        run(shell, "import colab_magics\nkey = colab_magics.secret('WANDB_KEY')")
        assert shell.user_ns["key"] == "wandb-0123456789"
        assert colab_magics.masking.redact("wandb-0123456789") == "***"


def test_bootstrap_runs_a_block_with_the_notebooks_variables(
    shell: InteractiveShell, box: sandbox.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block syncs, links and runs; the second run finds only the command to do."""
    (box.folder("data") / "a.txt").write_text("from the dataset")
    shell.user_ns["LINK"] = box.folder_link("data")
    block = (
        "%%bootstrap\n"
        "dropbox_sync $LINK dataset --once   # the data\n"
        "symlink dataset proj/data\n"
        "!cat proj/data/a.txt\n"
        "mount_drive --on colab\n"
    )
    result = run(shell, f"{block}")
    assert isinstance(result, core.BootstrapResult)
    assert [step.status for step in result.steps] == ["done", "done", "done", "skipped"]
    shown = capsys.readouterr().out
    assert "from the dataset" in shown
    assert box.dropbox_url not in shown
    requests = len(box.requests)
    result = run(shell, block)
    assert [step.status for step in result.steps] == ["up-to-date", "up-to-date", "done", "skipped"]
    assert len(box.requests) == requests


def test_a_wrong_block_runs_nothing(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """Every mistake is named with its line before anything has run."""
    result = shell.run_cell("%%bootstrap\nrun touch here\ndropbox_snyc x y\nsymlink $MISSING_ONE place\nsymlink one\n")
    assert type(result.error_in_exec).__name__ == "PlanError"
    assert str(result.error_in_exec).splitlines() == [
        "line 2: unknown step 'dropbox_snyc'; did you mean 'dropbox_sync'?",
        (
            "line 3: unknown variable $MISSING_ONE; set it in the notebook or the environment "
            "(for a literal $ write '$' in single quotes) (column 9)"
        ),
        "line 4: missing: LINK; write symlink SOURCE LINK",
    ]
    assert not Path("here").exists()


def test_a_failing_line_stops_the_cell_and_is_named(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says which line failed and how its command ended; what follows is not run."""
    result = shell.run_cell("%%bootstrap\nrun true\nrun sh -c 'echo broken; exit 3'\nrun touch here\n")
    error = result.error_in_exec
    assert isinstance(error, StepError)
    assert str(error).startswith("line 2: run: ")
    assert "status 3" in str(error)
    assert "broken" in str(error)
    assert [step.status for step in error.result.steps] == ["done", "failed", "skipped"]
    assert not Path("here").exists()


def test_a_block_can_be_saved_and_planned(shell: InteractiveShell) -> None:
    """--save writes the block as it was typed, --export a script; --dry-run runs none of it."""
    result = run(shell, "%%bootstrap --dry-run --save setup.txt --export setup.sh\nrun touch here\n")
    assert [step.status for step in result.steps] == ["planned"]
    assert Path("setup.txt").read_text() == "run touch here\n"
    assert not Path("here").exists()
    subprocess.run(["sh", "setup.sh"], check=True, capture_output=True)
    assert Path("here").exists()


def test_a_name_that_is_not_there_is_told(shell: InteractiveShell) -> None:
    """Also in braces, with the near one; what is no expression stays as it is."""
    shell.user_ns["HOST"] = "x.example"
    said = run_for_usage(shell, "%private_pip {HOTS}/acme/x")
    assert "{HOTS}: name 'HOTS' is not defined; did you mean 'HOST'?" in said
    run(shell, "%symlink . '{NOPE}'")
    assert Path("{NOPE}").is_symlink()


def run_for_usage(shell: InteractiveShell, source: str) -> str:
    """Run what is a wrong call, and return what IPython shows of it."""
    import contextlib
    import io

    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(err):
        shell.run_cell(source)
    return err.getvalue()


def test_what_was_written_is_said(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """The block and the script, each with its place."""
    run(shell, "%%bootstrap --save b.txt --export b.sh --lock b.lock\nrun true")
    shown = capsys.readouterr().out
    for line in ("wrote the block to b.txt", "wrote the script to b.sh", "wrote the lock to b.lock"):
        assert line in shown


@pytest.mark.parametrize("source", ["%%bootstrap -h", "%%bootstrap --help\n", "%%bootstrap -h\n ", "%bootstrap -h"])
def test_help_of_a_block(shell: InteractiveShell, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also without a block below it, and of the magic that runs a saved one."""
    assert run(shell, source) is None
    shown = capsys.readouterr().out
    assert f"usage: {source.split()[0]} " in shown
    assert "--frozen" in shown
    assert ("FILE|URL|secret:NAME" in shown) == source.startswith("%bootstrap")


def test_a_saved_block_runs(shell: InteractiveShell, box: sandbox.Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """From a file, an address and a secret; from an address it is shown, once; the notebook's variables count."""
    shell.user_ns["NAME"] = "made"
    Path("block.txt").write_text("run mkdir -p $NAME\n")
    result = run(shell, "x = %bootstrap block.txt")
    assert shell.user_ns["x"].steps[0].status == "done"
    assert result is None
    shell.user_ns["LINK"] = link = box.file_link("block", "run mkdir -p $NAME.2\n")
    box.add_secret("BLOCK", link)
    capsys.readouterr()
    run(shell, "%bootstrap $LINK")
    shown = capsys.readouterr().out
    assert "1  run mkdir -p $NAME.2" in shown
    digest = re.findall("--sha256 ([0-9a-f]{64})", shown)[0]
    assert Path("made.2").is_dir()
    run(shell, "%bootstrap secret:BLOCK")
    assert "holds this block" not in capsys.readouterr().out
    box.file_link("block", "run touch other\n")
    assert "has the digest" in run_for_usage(shell, f"%bootstrap $LINK --sha256 {digest}")
    assert not Path("other").exists()
    run(shell, "%bootstrap secret:BLOCK --lock lock.json")
    assert Path("other").exists()
    assert "holds this block" in capsys.readouterr().out
    box.file_link("block", "run touch third\n")
    assert "the lock says" in run_for_usage(shell, "%bootstrap secret:BLOCK --frozen lock.json")
    assert not Path("third").exists()
    for source, message in (
        ("%bootstrap http://dropbox.example/x", "only fetched over https"),
        ("%bootstrap nowhere.txt", "the block 'nowhere.txt' cannot be read: No such file"),
        ("%bootstrap", "missing: FILE|URL|secret:NAME"),
    ):
        assert message in run_for_usage(shell, source)
