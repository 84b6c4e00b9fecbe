"""What spark-submit starts: the same command line as `screener`."""

import sys

from screener.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
