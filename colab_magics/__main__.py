"""``colab-magics`` and ``python -m colab_magics``."""

from __future__ import annotations

import sys

from colab_magics.errors import Interrupted

__all__ = ["main"]


def main() -> int:
    """Run the command line; an interrupt is one line even while that is loaded, which takes longest of all."""
    try:
        from colab_magics import cli

        return cli.main()
    except KeyboardInterrupt:
        sys.stderr.write(f"{Interrupted()}\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
