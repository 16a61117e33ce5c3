"""``python -m colab_magics``."""

import sys

from colab_magics.cli import main

sys.exit(main())
