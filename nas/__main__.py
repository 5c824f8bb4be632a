"""`python -m nas` is the `nas` command."""

import sys

from nas.errors import INTERRUPTED


def main() -> int:
    """Run the command line; Ctrl-C is a quiet end even while it is being imported."""
    try:
        from nas.cli import main as run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
