"""The limit: every line of the export read and decoded into the typed records that we use, and nothing else."""

import gc
import sys
from pathlib import Path

from screener.clinical.wire import decode_resource


def main(folder: Path) -> None:
    """Decode all lines."""
    gc.disable()
    for file in sorted(folder.glob("*.ndjson")):
        with file.open("rb") as stream:
            for line in stream:
                decode_resource(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
