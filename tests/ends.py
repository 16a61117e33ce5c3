"""At which end of the range of versions the tests run.

What is the same program at every end (uv, a shell), depends on no version, or takes a build of many seconds for each
variant, is tested in all its variants at the newest end, and in one at the others: Colab's versions, and the oldest
Python.
"""

from __future__ import annotations

import sys
from importlib import metadata

__all__ = ["ONE_VARIANT"]

#: Whether one variant of each such test is enough here.
ONE_VARIANT = metadata.version("ipython").startswith("7.") or sys.version_info < (3, 11)
