"""How the pages are built: ``sphinx-build -W docs OUT``. Nothing is fetched, neither here nor by who reads them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import reference

from colab_magics import __version__

project, author = "colab_magics", "the colab_magics authors"
release = version = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme, html_title = "furo", f"colab_magics {__version__}"
html_copy_source = html_show_sourcelink = False
# The blocks of our own language have no lexer.
highlight_language = "none"
nitpicky = True

reference.write(Path(__file__).parent / "magics")
