"""At which end of the range of versions the tests run.

What is the same program at both ends (uv, a shell), or depends on no version, is tested in all its variants at the
newest end, and in one at the other.
"""

from __future__ import annotations

from importlib import metadata

__all__ = ["IS_COLABS"]

#: Whether these are Colab's versions.
IS_COLABS = metadata.version("ipython").startswith("7.")
