"""The arguments of a whole block: of ``%%bootstrap`` and of ``colab-magics run``."""

from __future__ import annotations

from colab_magics.core.blocks import verbs
from colab_magics.core.blocks.arguments import Arguments, count

__all__ = ["block_parser"]

_DESCRIPTION = """\
Run a block of steps, one a line:

{verbs}

Each takes the options of the magic of that name (%dropbox_sync? shows them) and --on ENV[,ENV],
which runs it only there: colab, kaggle, linux, ... Words are split as a shell splits them: quotes,
\\ before a space or at a line's end, # for a comment. $NAME is a variable of the notebook or of the
environment, drive:PATH lies on the drive, secret:NAME is looked up where tokens are.

The whole block is checked before its first step runs. It ends as if its lines ran from top to
bottom, but a step starts as soon as what it needs is there; run waits for all before it. When a
step fails, what depends on it is skipped, the rest is finished, and the cell fails. Running it
again does only what is left. The result has a line a step: x = _ keeps it."""
_EXAMPLE = """\
  VERB
  dropbox_sync secret:DATASET_LINK dataset --once
  dropbox_sync $PROJECT_LINK proj
  symlink dataset proj/data/input
  pip install -r proj/requirements.txt
  private_pip acme/secretlib@v1.2
  run --in proj python train.py --epochs 10"""


def block_parser(prog: str, *, file: bool = False) -> Arguments:
    """Return the parser of what is said of a whole block.

    Parameters
    ----------
    prog : str
        What the help calls it.
    file : bool, optional
        The block is in a file, whose name is an argument; else it is what stands below.
    """
    listed = "\n".join(f"  {f'{verb.name} {verb.synopsis}':<26} {verb.summary}" for verb in verbs.every())
    made = Arguments.described(prog, _DESCRIPTION.format(verbs=listed), "" if file else _EXAMPLE)
    add = made.add_argument
    if file:
        add("file", metavar="FILE|URL|secret:NAME", help="the block; - for standard input in a shell")
        add("--sha256", metavar="HEX", help="run it only when its content has this digest")
    add("--jobs", metavar="N", type=count, help="how many steps may run side by side")
    add("--lock", metavar="FILE", help="write what was used to FILE: contents, commits, versions")
    add("--frozen", metavar="FILE", help="use exactly what such a FILE says, or fail")
    over = "tcp://HOST:PORT" if file and not prog.startswith("%") else "NAME"
    what = "the address of dask's scheduler" if over != "NAME" else "a dask or ipyparallel client of the notebook"
    add("--over", metavar=over, help=f"run it once on every host of a cluster: {what}")
    add("--send-secrets", action="store_true", help="with --over: send hosts what they lack, sealed, over TLS only")
    add("--save", metavar="FILE", help="also write the block to FILE, to run it elsewhere (with -n nothing is run)")
    add(
        "--export",
        metavar="FILE",
        help="also write it as a shell script that needs nothing of ours (with -n nothing is run)",
    )
    made.add_common()
    return made
