"""From a run's summary and those of earlier runs to the report. Small counts are hidden, and the others rounded."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import log

import msgspec

from model import MG_CUT_OFF_MMOL_L, Artefact
from screener.base.plural import counted
from screener.base.small_counts import said, shown
from screener.clinical.records import Outcome
from screener.operations.report.blocks import Bar, Bars, Cell, Grid, Report, Section, Table
from screener.run.figures import AnalyteFigures, Figures, together
from screener.run.summary import Summary
from screener.stores.reading import Ending

_PREDICTORS = ("mg", "p", "ctx", "p1np", "weight", "height")
_UNITS = {"mg": "mmol/L", "p": "mmol/L", "ctx": "ng/mL", "p1np": "ng/mL", "weight": "kg", "height": "cm"}
_OUTCOMES = {
    Outcome.SCORED: "has a probability and a flag",
    Outcome.FLAG_ONLY: "has a flag; what the nomogram lacks",
    Outcome.NOT_ELIGIBLE: "a rule keeps her out",
    Outcome.NOT_SCORABLE: "no usable magnesium, or no Patient",
    Outcome.FAILED: "her records could not be read or written",
}
_IN_WORDS = {"a": "year"}  # units of UCUM that readers would not know
_STAGES = {
    "prepare": "connect, read the model and the tables",
    "read_and_decide": "read, judge and compare",
    "write": "write",
}
# Population stability index: below the first nothing moved, from the second on look (the usual rule of credit scoring).
_PSI_MOVED, _PSI_LOOK = 0.1, 0.25
_ENOUGH_FOR_PSI = 200
_RISK_STEP = 10  # per cent
_MEANING = (
    "A risk is the estimated probability that DXA now would show osteoporosis, in women like those of one orthopaedic inpatient cohort in "
    "which 58 % had it. It is no diagnosis, no fracture risk and no forecast, and it does not replace DXA."
)
_UNCALIBRATED = "The model is the published one: it ranks women, and does not estimate their own chance at this site."


def run_report(summary: Summary, earlier: Sequence[Figures], artefact: Artefact | None, *, least: int) -> Report:
    """The report. `earlier`: the figures of earlier runs of its kind; `artefact`: the run's model, None where it is not at hand; `least`:
    counts below it are not shown."""
    make = _Maker(summary, together(earlier) if earlier else None, artefact, least)
    status, headline, remedy = make.ending()
    return Report(
        title=f"{summary.mode.capitalize()} run of {summary.started[:10]}",
        status=status,
        headline=headline,
        remedy=remedy,
        facts=[
            ("run", summary.run_id),
            ("began", summary.started.replace("T", " ")[:16] + " UTC"),
            ("destination", summary.destination or "none yet"),
            ("mode", f"{summary.mode}{', dry run' if summary.dry_run else ''}{'' if summary.whole else ', partial'}"),
            ("exit code", str(summary.exit_code)),
            ("patients", make.said(summary.patients_seen)),
        ],
        sections=[section for section in make.sections() if section.blocks],
        least=least,
    )


class _Maker:
    def __init__(self, summary: Summary, before: Figures | None, artefact: Artefact | None, least: int) -> None:
        self._summary, self._figures, self._before = summary, summary.figures, before
        self._artefact, self._least = artefact, least

    def said(self, count: int) -> str:
        """A count as it may be shown."""
        return said(shown(count, self._least), self._least)

    def ending(self) -> tuple[str, str, str]:
        """How the run ended: status, headline, what to do."""
        summary = self._summary
        if summary.error:
            return "stop", f"The run was stopped: {summary.error}", summary.remedy
        if summary.withheld:
            why = "; ".join(found.words for found in summary.limits_exceeded)
            remedy = "Look at it with --dry-run --show-patients; if it is right, run again with --accept-large-change"
            return "stop", f"Nothing was written: {why}", remedy
        if summary.exit_code:
            return "look", "The run came to its end, and some patients failed", "The next run tries them again"
        if summary.dry_run:
            return "look", f"Nothing was written: {summary.why_not_written}", ""
        return "ok", "The run came to its end" if summary.wrote else "The run came to its end; nothing had changed", ""

    def sections(self) -> list[Section]:
        """All of them; those without anything in them are left out by the caller."""
        return [
            Section("From patients to probabilities", "", [*self._funnel(), *self._outcomes()]),
            Section("Risks", f"{_MEANING} {'' if self._is_local else _UNCALIBRATED}", [*self._risks(), *self._by_mg()]),
            Section("Results", "", [*self._coverage(), *self._units(), *self._refused()]),
            Section("Kept out", "", [*self._excluded(), *self._not_understood()]),
            Section("Against earlier runs", "", self._drift()),
            Section("What was written", "", [*self._written(), *self._caveats()]),
            Section("The run itself", "", [*self._not_checked(), *self._timing()]),
            Section("The model", "", self._model()),
        ]

    @property
    def _is_local(self) -> bool:
        return self._summary.model["calibration"] == "local"

    def _bars(
        self, caption: str, headings: tuple[str, str], counts: Mapping[str, int], whole: int = 0, note: str = ""
    ) -> Bars:
        """Counts by label. `whole`: of how many each is a share; 0 where they are no shares."""
        told = {label: shown(count, self._least) for label, count in counts.items()}
        longest = max([shown(whole, self._least) or 0, *(count or 0 for count in told.values())]) or 1
        rows = [
            Bar(label, self._with_share(count, whole), 100 * (count or 0) / longest) for label, count in told.items()
        ]
        return Bars(caption, headings, rows, note)

    def _with_share(self, count: int | None, whole: int) -> str:
        text = said(count, self._least)
        total = shown(whole, self._least)
        return f"{text} ({count / total:.0%})" if count is not None and total else text

    def _total(self, *outcomes: Outcome) -> int:
        return sum(sum(self._summary.outcomes[outcome.value].values()) for outcome in outcomes)

    def _funnel(self) -> list[Bars]:
        seen = self._summary.patients_seen
        steps = {
            "patients looked at": seen,
            "with usable magnesium and readable": seen - self._total(Outcome.NOT_SCORABLE, Outcome.FAILED),
            "kept out by no rule": self._total(Outcome.SCORED, Outcome.FLAG_ONLY),
            "with a probability": self._total(Outcome.SCORED),
        }
        note = f"Flagged (magnesium at or below 0.845 mmol/L): {self.said(self._summary.flagged)}, with or without a probability."
        return [self._bars("How many are left at each step", ("step", "patients"), steps, seen, note)] if seen else []

    def _outcomes(self) -> list[Table]:
        tables = []
        for outcome, meaning in _OUTCOMES.items():
            rows = self._reasons(self._summary.outcomes[outcome.value])
            if rows:
                tables.append(Table(f"{outcome.value}: {meaning}", ("reason", "patients"), rows))
        return tables

    def _reasons(self, counts: Mapping[str, int]) -> list[tuple[str, str]]:
        """The most frequent first; those that are too rare to be shown are one row."""
        told = [
            (reason, count)
            for reason, count in sorted(counts.items(), key=lambda item: -item[1])
            if count >= self._least
        ]
        rare = [count for count in counts.values() if count < self._least]
        rows = [(reason, self.said(count)) for reason, count in told]
        return rows + ([(f"{counted(len(rare), 'rarer reason')}, together", self.said(sum(rare)))] if rare else [])

    def _risks(self) -> list[Bars]:
        steps = {f"{low} to {low + _RISK_STEP} %": 0 for low in range(0, 100, _RISK_STEP)}
        for low, count in self._figures.risks.items():
            start = int(low) // _RISK_STEP * _RISK_STEP
            steps[f"{start} to {start + _RISK_STEP} %"] += count
        women = sum(steps.values())
        return [self._bars("Women by their risk", ("risk", "women"), steps, women)] if women else []

    def _by_mg(self) -> list[Grid]:
        table = self._figures.risks_by_mg
        if not table:
            return []
        columns = list(range(0, 100, 20))
        ends = sorted(Decimal(end) for end in table)
        counts = [[self._in_column(table[str(end)], low) for low in columns] for end in ends]
        most = max(shown(count, self._least) or 0 for row in counts for count in row) or 1
        rows = [
            (f"{end - Decimal('0.05')} < Mg ≤ {end}", [self._cell(count, most) for count in row])
            for end, row in zip(ends, counts, strict=True)
        ]
        at_or_below = sum(end <= MG_CUT_OFF_MMOL_L for end in ends)
        return [
            Grid(
                "Women by magnesium and risk",
                "magnesium (mmol/L)",
                [f"{low} to {low + 20} %" for low in columns],
                rows,
                at_or_below - 1,
                "The line is the cut-off of 0.845 mmol/L: women above it in this table are flagged.",
            )
        ]

    def _in_column(self, risks: Mapping[str, int], low: int) -> int:
        return sum(count for start, count in risks.items() if low <= int(start) < low + 20)

    def _cell(self, count: int, most: int) -> Cell:
        told = shown(count, self._least)
        return Cell(said(told, self._least), 0 if not told else min(1 + 4 * told // (most + 1), 4))

    def _coverage(self) -> list[Bars]:
        eligible = self._total(Outcome.SCORED, Outcome.FLAG_ONLY)
        have = dict.fromkeys(_PREDICTORS, eligible)
        for reason, count in self._summary.outcomes[Outcome.FLAG_ONLY.value].items():
            if reason.startswith("missing_"):
                for name in reason.removeprefix("missing_").split("+"):
                    if name in have:
                        have[name] -= count
        caption = "Women whom no rule keeps out, with each result where the nomogram looks for it"
        return [self._bars(caption, ("result", "women"), have, eligible)] if eligible else []

    def _units(self) -> list[Table]:
        analytes = self._figures.analytes.items()
        units = [
            (name, unit or "none", self.said(count), self._median(figures))
            for name, figures in analytes
            for unit, count in figures.units.items()
        ]
        codes = [(name, code, self.said(count)) for name, figures in analytes for code, count in figures.codes.items()]
        note = "Medians are in the model's unit, and not told below 50 results."
        tables = []
        if units:
            headings = ("analyte", "unit as sent", "results used", "median of the analyte")
            tables.append(Table("Units", headings, units, numbers=2, note=note))
        if codes:
            note = "A code alone is LOINC's. screener coverage lists the codes that nobody mapped, too."
            tables.append(Table("Codes", ("analyte", "code", "results used"), codes, note=note))
        return tables

    def _median(self, figures: AnalyteFigures) -> str:
        return "" if figures.median is None else f"{figures.median:g}"

    def _refused(self) -> list[Table]:
        rows = [
            (analyte, *row) for analyte, reasons in self._summary.refusals.items() for row in self._reasons(reasons)
        ]
        return [Table("Results refused", ("analyte", "reason", "results"), rows)] if rows else []

    def _excluded(self) -> list[Table]:
        rows = [(rule, *row) for rule, counts in self._figures.excluded_by.items() for row in self._reasons(counts)]
        note = "A patient may have several rows of the rule that keeps her out."
        return (
            [Table("Patients kept out, by row of the list", ("rule", "row", "patients"), rows, note=note)]
            if rows
            else []
        )

    def _not_understood(self) -> list[Table]:
        rows = [
            (kind, *row) for kind, systems in self._summary.not_understood.items() for row in self._reasons(systems)
        ]
        note = "They may keep a patient out. Name the system in codes.systems, or add rows to codes.exclusions."
        return (
            [Table("Statements that nobody here can read", ("type", "code system", "statements"), rows, note=note)]
            if rows
            else []
        )

    def _drift(self) -> list[Table]:
        before = self._before
        if before is None:
            return []
        rows = [
            self._share(
                "scored, of the candidates",
                self._figures.scored,
                self._figures.candidates,
                before.scored,
                before.candidates,
            ),
            self._share(
                "flagged, of the flags made",
                self._figures.flagged,
                self._figures.flags_made,
                before.flagged,
                before.flags_made,
            ),
        ]
        for name in _PREDICTORS:
            now, was = self._figures.analytes.get(name), before.analytes.get(name)
            if now is not None and was is not None:
                moved = psi(now.distribution, was.distribution)
                unit = _UNITS[name]
                rows.append(
                    (
                        f"{name} (median, {unit})",
                        self._median(was),
                        self._median(now),
                        "" if moved is None else f"{moved:.2f}",
                        _verdict(moved),
                    )
                )
        note = (
            "The earlier runs are the last ones of this kind. PSI is the population stability index of the analyte's distribution: "
            f"below {_PSI_MOVED} nothing moved, from {_PSI_LOOK} look at the laboratory's method and units."
        )
        return [Table("This run against the last ones", ("", "before", "now", "PSI", ""), rows, numbers=4, note=note)]

    def _share(self, name: str, now: int, of: int, was: int, was_of: int) -> tuple[str, ...]:
        def share(count: int, whole: int) -> str:
            told, total = shown(count, self._least), shown(whole, self._least)
            return "" if told is None or not total else f"{told / total:.0%}"

        return name, share(was, was_of), share(now, of), "", ""

    def _written(self) -> list[Table]:
        summary = self._summary
        rows = [
            (column, method, reason, self.said(count))
            for column, methods in summary.write_reasons.items()
            for method, reasons in methods.items()
            for reason, count in reasons.items()
        ]
        rows = [(name, "", "", self.said(count)) for name, count in summary.writes.items()] + rows
        would = summary.dry_run or summary.withheld
        caption = "Assessments by what would become of them" if would else "Assessments by what became of them"
        return [Table(caption, ("change", "method", "reason", "assessments"), rows)]

    def _caveats(self) -> list[Table]:
        rows = [
            (name, self.said(count)) for name, count in sorted(self._summary.caveats.items(), key=lambda item: -item[1])
        ]
        return [Table("What assessments warn of", ("caveat", "patients"), rows)] if rows else []

    def _not_checked(self) -> list[Table]:
        summary = self._summary
        rows = [(f"{kind}: exclusions not checked", why) for kind, why in summary.exclusions_not_checked.items()]
        rows += [
            (f"{kind}: read by category", one.categories)
            for kind, one in summary.reading.items()
            if one.ending is Ending.WHOLE and one.categories
        ]
        if summary.not_offered:
            rows.append(("not offered by the source, and not asked for", ", ".join(summary.not_offered)))
        rows += [(f"limit {found.limit}", found.words) for found in summary.limits_exceeded]
        rows += [
            (
                f"table {table.name} ({table.file})",
                f"version {table.version}, reviewed by {table.reviewed_by} on {table.reviewed}"
                if table.is_reviewed
                else "nobody is named as its reviewer",
            )
            for table in summary.site_tables
        ]
        if summary.bad_lines:
            rows.append(("unreadable resources", str(summary.bad_lines)))
        if summary.results_without_patient:
            rows.append(("results that name no patient", str(summary.results_without_patient)))
        return [Table("What to know of this run", ("", ""), rows, numbers=0)] if rows else []

    def _timing(self) -> list[Table]:
        summary = self._summary
        rows = [(_STAGES.get(name, name), f"{seconds:,.1f} s") for name, seconds in summary.stages.items()]
        rows += [
            ("all", f"{summary.seconds:,.1f} s"),
            ("requests, and repeated ones", f"{summary.requests:,} and {summary.retries:,}"),
            ("read", f"{summary.bytes_read / 1e6:,.1f} MB"),
            ("memory at most", f"{summary.peak_rss_bytes / 1e6:,.0f} MB"),
        ]
        return [Table("Time and traffic", ("", ""), rows)]

    def _model(self) -> list[Table]:
        model = self._summary.model
        if not model["id"]:
            return []
        named = [
            ("model", f"{model['id']} {model['version']}"),
            ("checksum", model["checksum"][:16]),
            ("calibration", "to this site's own patients" if self._is_local else "none: as published"),
        ]
        tables = [Table("Which model", ("", ""), named, numbers=0)]
        if self._artefact is not None:
            rows = [
                (
                    row.name,
                    "per 1 if at or below 0.845 mmol/L"
                    if row.form == "category"
                    else f"per {_IN_WORDS.get(row.unit, row.unit)}",
                    f"{row.coefficient:.4g}",
                    str(row.provenance["kind"]),
                )
                for row in self._artefact.predictors
            ]
            headings = ("predictor", "log odds ratio", "coefficient", "where it comes from")
            tables.append(
                Table(
                    "Excerpt of the model card",
                    headings,
                    rows,
                    numbers=0,
                    note="screener model card prints the whole card.",
                )
            )
        return tables


def psi(now: Mapping[str, int], before: Mapping[str, int]) -> float | None:
    """Population stability index of two distributions over the same steps; None below 200 results in either.

    Half a result is added to each step, so that one that is empty in one of them does not count as infinitely rare.
    """
    if sum(now.values()) < _ENOUGH_FOR_PSI or sum(before.values()) < _ENOUGH_FOR_PSI:
        return None
    steps = sorted({*now, *before})
    shares = [_shares(counts, steps) for counts in (now, before)]
    return float(sum((p - q) * log(p / q) for p, q in zip(*shares, strict=True)))


def _shares(counts: Mapping[str, int], steps: Sequence[str]) -> list[float]:
    whole = sum(counts.values()) + 0.5 * len(steps)
    return [(counts.get(step, 0) + 0.5) / whole for step in steps]


def _verdict(moved: float | None) -> str:
    if moved is None:
        return "too few to tell"
    return "as before" if moved < _PSI_MOVED else "moved a little" if moved < _PSI_LOOK else "look"


def of_ledger(summary: Mapping[str, object]) -> Summary:
    """A summary as the ledger keeps it. ValidationError where an older release wrote it, without what a report needs."""
    return msgspec.convert(summary, Summary)
