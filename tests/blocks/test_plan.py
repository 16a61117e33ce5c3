"""Understanding a block before anything of it runs."""

from __future__ import annotations

import pytest

from colab_magics.core import read_plan
from colab_magics.core.blocks.plan import Step
from colab_magics.errors import PlanError, TokenError

LINK = "https://www.dropbox.com/scl/fo/abc/xyz?rlkey=k0123456789abcdef&dl=0"


def only(text: str, **variables: object) -> Step:
    (step,) = read_plan(text, variables).steps
    return step


def test_the_whole_recipe_is_understood() -> None:
    """The block that the documentation shows comes out as its steps, in order, with their lines."""
    plan = read_plan(
        "mount_drive --on colab\n"
        "dropbox_sync secret:DATASET_LINK dataset --once\n"
        "dropbox_sync $PROJECT_LINK proj\n"
        "symlink dataset proj/data/input\n"
        "symlink drive:exp1/working proj/data/working      # made if it is not there\n"
        "pip install -r proj/requirements.txt\n"
        "private_pip acme/secretlib@v1.2\n"
        "run --in proj python code/script/train.py --epochs 10\n",
        {"PROJECT_LINK": LINK},
    )
    assert [(step.line, step.verb) for step in plan.steps] == [
        (1, "mount_drive"),
        (2, "dropbox_sync"),
        (3, "dropbox_sync"),
        (4, "symlink"),
        (5, "symlink"),
        (6, "pip"),
        (7, "private_pip"),
        (8, "run"),
    ]
    assert plan.steps[0].on == ("colab",)
    assert plan.steps[1].args.once
    assert plan.steps[2].args.link == LINK
    assert plan.steps[5].command == ("-r", "proj/requirements.txt")
    assert plan.steps[7].args.folder == "proj"
    assert plan.steps[7].command == ("python", "code/script/train.py", "--epochs", "10")


@pytest.mark.parametrize(
    ("text", "verb", "command"),
    [
        ("!ls -l", "run", ("ls", "-l")),
        ("! ls -l", "run", ("ls", "-l")),
        ("!pip list", "run", ("pip", "list")),
        ("!pip install six", "pip", ("six",)),
        ("%pip install six", "pip", ("six",)),
        (
            "pip install -q --index-url https://x.example/simple six",
            "pip",
            ("-q", "--index-url", "https://x.example/simple", "six"),
        ),
        ("run python -m x --in y --on z", "run", ("python", "-m", "x", "--in", "y", "--on", "z")),
        ("run ls *.csv | wc -l", "run", "ls *.csv | wc -l"),
        ("run A=1 env", "run", "A=1 env"),
        ("run echo '*'", "run", ("echo", "*")),
    ],
)
def test_commands(text: str, verb: str, command: object) -> None:
    """What follows run, ! and pip install belongs to the command; a shell is used only where one is needed."""
    step = only(text)
    assert (step.verb, step.command) == (verb, command)


@pytest.mark.parametrize(
    "text", ["dropbox_sync LINK proj --once", "dropbox_sync LINK --once proj", "dropbox_sync --once LINK proj"]
)
def test_options_may_stand_anywhere(text: str) -> None:
    """DEST is DEST wherever the options are."""
    args = only(text.replace("LINK", LINK)).args
    assert (args.link, args.dest, args.once) == (LINK, "proj", True)


def test_a_percent_sign_may_lead() -> None:
    """Lines pasted from a notebook work as they are."""
    assert only("%symlink a b").verb == "symlink"
    assert only("!symlink a b").verb == "symlink"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%%bootstrap\nrun a", "line 1: %%bootstrap begins a notebook's cell and is no step; leave it out here"),
        ("dropbox_snyc x y", "line 1: unknown step 'dropbox_snyc'; did you mean 'dropbox_sync'?"),
        ("\nsymlink a", "line 2: missing: LINK"),
        ("symlink a b --forse", "line 1: unknown option '--forse'; did you mean '--force'?"),
        ("mount_drive --on collab", "unknown environment 'collab'; did you mean 'colab'?"),
        ("run", "line 1: run is followed by a command"),
        ("run --in proj", "line 1: run is followed by a command"),
        ("pip freeze", "line 1: pip is followed by install"),
        ("pip install", "line 1: pip is followed by install"),
        ("private_pip", "line 1: private_pip is followed by org/repo"),
        ("private_pip a/b/c/d", "line 1: 'a/b/c/d' names no repository"),
        ("dropbox_sync proj", "line 1: 'proj' is not a link"),
        ("dropbox_sync https://www.dropbox.com/request/abc x", "line 1: this link is a file request"),
        ("dropbox_sync $LINK x", "line 1: unknown variable $LINK"),
        ("%", "line 1: nothing follows '%'"),
        ("symlink 'a b", "line 1: the quote ' is not closed"),
        ("apt-get install -y x", "line 1: unknown step 'apt-get'; write apt install PKG ..."),
        ("%cd proj", "line 1: unknown step 'cd'; write run --in DIR COMMAND: every step begins in"),
        ("!cd proj", "line 1: what cd changes ends with its own line; write run --in DIR COMMAND"),
        ("run export A=1", "line 1: what export changes ends with its own line; write env NAME=VALUE"),
        ("export A=1", "line 1: unknown step 'export'; write env NAME=VALUE"),
        ("A=1", "line 1: unknown step 'A=1'; write env A=VALUE"),
        ("git clone https://example.org/x", "line 1: unknown step 'git'; write git_clone org/repo [DEST], or: run git"),
        ("wget -q https://example.org/x", "line 1: unknown step 'wget'; write dropbox_sync ADDRESS [DEST]"),
        ("conda install x", "line 1: unknown step 'conda'; write pip install PKG ..."),
        ("mkdir -p out", "line 1: unknown step 'mkdir'; for a command write: run mkdir -p out"),
        ("sync x y", "line 1: unknown step 'sync'; did you mean 'dropbox_sync'?"),
        ("%matplotlib inline", "unknown step 'matplotlib'; a block knows no other magics"),
        ("for i in 1 2; do echo x; done", "line 1: unknown step 'for'; write run bash -c '...'"),
        ("run for i in 1 2; do echo $i; done", "stands in single quotes: run bash -c 'for i in 1 2; do echo $i; done'"),
        ("run cat <<EOF > x\none\nit's two\nEOF", "line 1: a here-document has no place in a block"),
        ("run python - <<'EOF'\nprint(1)\nEOF", "line 1: a here-document has no place in a block"),
        ("dropbox_sync secret:X d --quiet", "line 1: unknown option '--quiet'"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    """A mistake is one line with the number of its line and, where something is near, a suggestion."""
    with pytest.raises(PlanError) as caught:
        read_plan(text)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_only_looks_like_a_here_document_is_none() -> None:
    """A here-string, a shift, a text in quotes; and behind one that ends, lines are steps again."""
    assert only("run cat <<<word").command == "cat <<<word"
    assert only("run echo '<<EOF'").command == ("echo", "<<EOF")
    with pytest.raises(PlanError) as caught:
        read_plan("run cat <<EOF\ntext\nEOF\nnope")
    assert [line[:6] for line in str(caught.value).splitlines()] == ["line 1", "line 4"]


def test_all_mistakes_come_at_once_and_in_order() -> None:
    """One run of the cell is enough to learn everything that is wrong with it."""
    with pytest.raises(PlanError) as caught:
        read_plan("symlink\nrun ls\nnope\ndropbox_sync $A\n'")
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "line 1",
        "line 3",
        "line 4",
        "line 5",
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("symlink a b --forse", 13),
        ("symlink 'a b' $NOPE/x", 15),
        ("mount_drive --on collab", 13),
        ("private_pip acme/x a/b/c/d", 20),
        ("  run", 3),
    ],
)
def test_a_mistake_behind_the_beginning_of_its_line_has_its_column(text: str, where: int) -> None:
    """Counted from 1; what is wrong with the whole of a line that begins at once needs none."""
    with pytest.raises(PlanError, match=rf"^line 2: .* \(column {where}\)$"):
        read_plan(f"run ls\n{text}")


def test_a_secret_does_not_hide_what_else_is_wrong() -> None:
    """It is the error's kind, and every other line is there too."""
    token = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    with pytest.raises(TokenError) as caught:
        read_plan(f"nope\nrun echo {token} $NOPE\nsymlink")
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["line 1", "line 2", "line 3"]
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "private_pip --token hunter2hunter2 acme/x",
        "dropbox_sync secret:LINK d --password hunter2hunter2",
        "private_pip https://user:hunter2hunter2@github.com/acme/x",
        "run curl -H 'Authorization: ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8' https://example.org",
    ],
)
def test_a_secret_typed_into_a_block_is_refused(text: str) -> None:
    """A token or password itself is never taken, and the refusal does not repeat it."""
    with pytest.raises(TokenError, match="line 2: ") as caught:
        read_plan(f"run ls\n{text}")
    assert "hunter2" not in str(caught.value)
    assert "ghp_a1" not in str(caught.value)
