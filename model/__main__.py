"""`python -m model build --out FILE`: rebuild the published model's artefact from the paper's figures."""

import argparse
import sys
import time
from pathlib import Path

from model.errors import ArtefactError, ModelError


def main() -> int:
    """Exit code 0, or 2 with a message where the model cannot be built or written."""
    parser = argparse.ArgumentParser(prog="python -m model", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build",
        help="rebuild the artefact; the same bytes every time",
        epilog="Example: python -m model build --out shi2026-mg-category.json",
    )
    build.add_argument("--out", type=Path, required=True, help="file to write, in a folder that exists")
    build.set_defaults(run=_build)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments.out)
    except ModelError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - this is the command line
        return 2
    except OSError as error:
        print(f"Error: cannot write {arguments.out}: {error.strerror}. Check the folder", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _build(out: Path) -> None:
    from model.artefact import load_artefact, write_artefact  # noqa: PLC0415
    from model.reconstruction.document import document  # noqa: PLC0415 - scipy: not for --help
    from model.reconstruction.recipe import reconstruct  # noqa: PLC0415

    if not out.parent.is_dir():
        raise ArtefactError(f"cannot write {out}: there is no folder {out.parent}. Make it first")
    began = time.monotonic()
    write_artefact(document(reconstruct()), out)
    artefact = load_artefact(out)
    print(f"{artefact.id} {artefact.version} written to {out} in {time.monotonic() - began:.1f} s")  # noqa: T201
    for predictor in artefact.predictors:
        kind = predictor.provenance["kind"]
        per = "presence" if predictor.form == "category" else predictor.unit
        print(f"  {predictor.name:11} {predictor.coefficient:+.5f} per {per:8} {kind}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
