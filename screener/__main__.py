"""`python -m screener`."""

import sys
from pathlib import Path

# Python puts the working folder first: a file `model.py` there would take the place of our package. Where the program itself lies there,
# its own packages are what is found.
if not sys.flags.safe_path and Path(sys.path[0] or ".").resolve() != Path(__file__).resolve().parents[1]:
    del sys.path[0]

from screener.commands.cli import main

if __name__ == "__main__":
    main()
