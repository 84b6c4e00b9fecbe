"""The tables that a site completes: its own codes and units, as `codes.codes` and `codes.units` of the configuration read them."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from model.atomic import write_whole
from screener.analysis.coverage.report import Coverage
from screener.analysis.coverage.tally import CodeSeen
from screener.analysis.suggestions import Suggestions
from screener.clinical.codes import CodeRow
from screener.clinical.records import Analyte
from screener.clinical.units import UnitRow


def write_tables(coverage: Coverage, units: Iterable[UnitRow], folder: Path) -> list[Path]:
    """`codes.csv` and `units.csv` with a row for each suggestion, to be checked by somebody who knows the laboratory."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    codes = [_code(seen) for seen in coverage.unmapped_codes if seen.suggestion]
    spelt = list(_units(coverage.mapped_codes, Suggestions(units)))
    return [
        _write(folder / "codes.csv", CodeRow.__struct_fields__, codes),
        _write(folder / "units.csv", UnitRow.__struct_fields__, spelt),
    ]


def _code(seen: CodeSeen) -> dict[str, str]:
    assert seen.suggestion is not None  # noqa: S101 - the caller's
    system, _, code = seen.code.rpartition("|")
    printed = ", ".join(unit.unit or "none" for unit in seen.units[:4])
    return {
        "system": system,
        "code": code,
        "analyte": seen.suggestion.analyte.value,
        "use": seen.suggestion.use,
        "reason": seen.suggestion.reason,
        "source": f"CHECK: suggested by the name {seen.text!r}; {seen.results} results, units {printed}",
    }


def _units(mapped: Sequence[CodeSeen], suggestions: Suggestions) -> Iterable[dict[str, str]]:
    done: set[tuple[str, str]] = set()
    for seen in mapped:
        for unit in seen.units:
            like = suggestions.of_unit(Analyte(seen.analyte), unit.unit)
            if "unit_unknown" not in unit.refused or like is None or (seen.analyte, unit.unit) in done:
                continue
            done.add((seen.analyte, unit.unit))
            yield {
                "analyte": seen.analyte,
                "unit": unit.unit,
                "numerator": str(like.numerator),
                "denominator": str(like.denominator),
                "quantity": like.quantity,
                "source": f"CHECK: written like {like.unit}",
            }


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Path:
    text = io.StringIO(newline="")
    text.write("# version:\n# reviewed by:\n# reviewed:\n")
    table = csv.DictWriter(text, [*(name for name in columns if name != "source"), "source"])
    table.writeheader()
    table.writerows(rows)
    write_whole(path, [text.getvalue().encode()], private=True)
    return path
