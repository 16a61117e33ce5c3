"""A real IPython shell inside the tests' process, with nothing of the user's own configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


@contextmanager
def real_shell(**traits: object) -> Iterator[InteractiveShell]:
    """Yield a shell; `traits` are set for ``ColabMagics`` as a configuration file would."""
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "NoColor"
    config.ColabMagics.update(traits)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=config)
    try:
        yield shell
    finally:
        if "colab_magics" in shell.extension_manager.loaded:
            shell.run_line_magic("unload_ext", "colab_magics")
        shell.history_manager.end_session()
        InteractiveShell.clear_instance()
