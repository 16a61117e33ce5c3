"""The tests, and all that they start, see nothing of how this machine is set up."""

from __future__ import annotations

import os
import re
import subprocess
import sys


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_no_setting_of_this_machine_is_seen() -> None:
    """Neither its files for pip and git nor its variables for those, for uv, proxies, certificates and tokens."""
    assert [
        line for line in said(sys.executable, "-m", "pip", "config", "list").splitlines() if ":env:" not in line
    ] == []
    assert said("git", "config", "--list") == ""
    ours = {"PIP_CONFIG_FILE", "PIP_NO_INDEX", "UV_CONFIG_FILE", "GIT_CONFIG_NOSYSTEM"}
    outside = re.compile(r"(?i)(pip|uv|git|ssl|curl|requests|xdg_config_dirs)_.*|.*(proxy|token|netrc).*|lc_.*")
    assert {name for name in os.environ if outside.fullmatch(name) and not name.startswith("COLAB_MAGICS_")} == ours
