"""Of two runs into one DEST the second waits, wherever locks can be had."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from refusing import mounted

from colab_magics.core.common import mutex
from colab_magics.core.common.mutex import locked
from colab_magics.errors import LayoutError


def test_the_mutex_of_a_run_that_was_killed_is_free() -> None:
    """Whoever waits for it goes on at once, and nothing has to be removed by hand."""
    code = (
        f"from colab_magics.core.common.mutex import locked\nfrom pathlib import Path\nimport sys\n"
        f"with locked(Path({str(Path('data').resolve())!r})):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "held\n"
        assert mutex.acquired(Path("data")) is None
        run.kill()
        run.wait()
    with locked(Path("data")) as waited:
        assert not waited


def test_a_cache_folder_without_locks_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutex is then in the temporary folder, and holds; where no folder has locks, one line says what to set."""
    with mounted(tmp_path / "disk", "flock=EOPNOTSUPP") as place:
        monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with locked(Path("data")) as waited:
            assert not waited
            assert mutex.acquired(Path("data")) is None
        with locked(Path("data")) as waited:
            assert not waited
        assert list(tmp_path.glob(f"colab_magics-{os.getuid()}/*.lock"))
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        with pytest.raises(LayoutError, match="no local folder can hold a lock; set TMPDIR"), locked(Path("data")):
            pass
