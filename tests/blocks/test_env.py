"""The verb env: variables for what runs afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kernels import running
from scripts import play, watched

from colab_magics.core import bootstrap, export, read_plan
from colab_magics.errors import PlanError, TokenError

SECRET = "wandb-0123456789-secret"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a block sets is gone after the test."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_later_commands_and_later_lines_have_it(tmp_path: Path) -> None:
    """A command finds it in its environment, a line names it; an earlier line has what was there before."""
    block = "run sh -c 'echo ${MODE-none} >before'\nenv MODE='two words' OUT=$ROOT/out\nrun sh -c 'echo $MODE >after'\n"
    result = bootstrap(f"{block}symlink before $OUT", variables={"ROOT": str(tmp_path)})
    assert Path("before").read_text() == "none\n"
    assert Path("after").read_text() == "two words\n"
    assert (tmp_path / "out").resolve() == Path("before").resolve()
    assert result.steps[1].detail == f"MODE=two words, OUT={tmp_path}/out"
    assert bootstrap("env MODE='two words'").steps[0].status == "up-to-date"
    assert bootstrap("env MODE='two words'", dry_run=True).steps[0].status == "up-to-date"


def test_a_secret_reaches_commands_and_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command has the value; the detail, the printed text and a later line do not."""
    monkeypatch.setenv("COLAB_MAGICS_SECRET_WANDB", SECRET)
    code = (
        f"import os; print(os.environ['WANDB_API_KEY']); assert os.environ['WANDB_API_KEY'] == {SECRET[::-1]!r}[::-1]"
    )
    Path("see.py").write_text(code)
    result = bootstrap("env WANDB_API_KEY=secret:WANDB\nrun python see.py")
    assert result.steps[0].detail == "WANDB_API_KEY=***"
    assert SECRET not in repr(result.steps)
    with pytest.raises(PlanError, match=r"line 2: \$KEY is set from a secret, .* \(column 10\)"):
        read_plan("env KEY=secret:WANDB\nrun echo $KEY", {"KEY": SECRET})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("env", "missing: NAME=VALUE"),
        ("env A=1 python train.py", "'python' is not NAME=VALUE; for one command alone write: run env NAME=VALUE"),
        ("env 1A=2", "'1A=2' is not NAME=VALUE"),
        ("env A=1\nrun echo $B", "line 2: unknown variable $B"),
    ],
)
def test_mistakes_are_told_before_anything_runs(line: str, message: str) -> None:
    """With what to write instead."""
    with pytest.raises(PlanError) as caught:
        bootstrap(line)
    assert message in str(caught.value)


def test_a_key_typed_out_is_refused() -> None:
    """Where the variable's name says that it is one, though nothing in the value does; and it is not repeated."""
    with pytest.raises(TokenError, match="a token was typed") as caught:
        read_plan(f"env WANDB_API_KEY={'0a' * 20}")
    assert "0a0a" not in str(caught.value)
    assert read_plan("env TOKENIZERS_PARALLELISM=false SSH_KEY=~/.ssh/id").steps


def test_what_is_checked_before_the_first_step_is_checked_behind_it_too() -> None:
    """It holds all after it, and makes no file."""
    with pytest.raises(PlanError, match="the source 'nowhere' does not exist"):
        bootstrap("env A=1\nsymlink nowhere link")


def test_only_where_it_counts() -> None:
    """With --on a variable is known to later lines only there."""
    block = "env --on linux ROOT=here\nenv --on kaggle ROOT=there\nrun touch $ROOT"
    assert read_plan(block, here="linux").steps[2].command == ("touch", "here")
    assert read_plan(block, here="kaggle").steps[2].command == ("touch", "there")


def test_a_bang_and_a_command_is_the_command() -> None:
    """!env alone prints the environment, as in a shell."""
    assert read_plan("!env").steps[0].verb == "run"
    assert read_plan("!env A=1 true").steps[0].verb == "run"
    assert read_plan("!env A=1").steps[0].verb == "env"


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_script_does_the_same(shell: str, tmp_path: Path) -> None:
    """Later commands have it, quotes and all; a secret is in no other program's arguments or environment."""
    block = (
        'env MODE="it\'s $HOME/x" KEY=secret:WANDB\nenv --on linux small=s\nenv --on kaggle small=k\n'
        'run sh -c \'echo "$MODE" >a; test "$KEY" && touch b; echo $small >c\'\nsymlink a $small.link\n'
    )
    with watched(SECRET, script="script.sh") as leaks:
        done = play(
            block, tmp_path / "x", shell=shell, HOME="/h", COLAB_MAGICS_SECRET_WANDB=SECRET, COLAB_MAGICS_ENV="linux"
        )
    assert done.status == 0, done.output
    assert (tmp_path / "x/a").read_text() == "it's /h/x\n"
    assert (tmp_path / "x/c").read_text() == "s\n"
    assert (tmp_path / "x/b").exists()
    assert (tmp_path / "x/s.link").is_symlink()
    allowed = ("environment of sh\0-c", "environment of touch")  # the command itself, and what it starts
    assert [leak for leak in leaks if not leak.startswith(allowed)] == []
    assert SECRET not in done.output + export(block)


def test_in_a_notebook_the_kernel_has_it_masked(tmp_path: Path) -> None:
    """Cells and shell lines see it, and nothing that the kernel sends shows it."""
    with running(tmp_path, COLAB_MAGICS_SECRET_WANDB=SECRET) as kernel:
        kernel.run("%load_ext colab_magics")
        said = kernel.run("%%bootstrap\nenv WANDB_API_KEY=secret:WANDB MODE=fast")
        said = kernel.run(
            "import os; print(os.environ['MODE'], os.environ['WANDB_API_KEY'], len(os.environ['WANDB_API_KEY']))"
        )
        assert said.stream("stdout") == f"fast *** {len(SECRET)}\n"
        assert SECRET not in said.text
