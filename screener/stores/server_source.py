"""A FHIR server as source: whole records of some hundred patients at a time."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

import msgspec
import structlog

from screener.assessment.evidence import Basis
from screener.base.errors import RequestRefused, ServerError, is_about_the_type
from screener.clinical import eligibility
from screener.clinical.dates import US_PER_SECOND, epoch_us, instant_us
from screener.clinical.mapping import Mapped, Mapper
from screener.clinical.records import (
    LABORATORY,
    Analyte,
    Demographics,
    Fact,
    MalformedResource,
    Medicine,
    PatientRecord,
    Refusal,
    UnresolvedMedication,
)
from screener.config.servers import ServerSettings
from screener.fhir.answer import decode
from screener.fhir.client import Client
from screener.fhir.reads import WithIdentifiers, WithSubject, read
from screener.fhir.search import Found, Meta, search
from screener.fhir.time import instant_text, parse_instant
from screener.stores.grouping import gather
from screener.stores.medicines import Medicines
from screener.stores.patient_search import PatientSearch, needs_a_list_error
from screener.stores.protocols import Mode, R, RowMapper, Scope
from screener.stores.reading import Reading

log = structlog.get_logger()

_BY_TEXT = "code:text"


class _Result(msgspec.Struct):
    status: str = ""
    meta: Meta = Meta()


class _Total(msgspec.Struct):
    total: int | None = None


class ServerSource:
    """Reads whole records by FHIR search, some hundred patients at a time."""

    def __init__(
        self,
        client: Client,
        settings: ServerSettings,
        mapper: Mapper,
        needs: Mapping[str, str],
        *,
        by_code: Sequence[str] = ("code",),
        many: bool = True,
        not_offered: Collection[str] = (),
    ) -> None:
        """`needs`: required, optional, if_offered or off for each excluding resource type. `by_code`: the searches that together
        find Observations by the codes of themselves and of their components; `many`: the server searches for several patients at
        once. `not_offered`: types that it does not list; nothing is asked of them."""
        self._patients = PatientSearch(client, settings, many=many)
        self._client, self._settings, self._mapper = client, settings, mapper
        self.needs = needs
        self.reading = Reading()
        for kind, need in needs.items():
            if need == "off":
                self.reading.cannot(kind, "switched off")
            elif kind in not_offered:
                self._not_offered(kind, need, "the server does not offer it")
        self._control = ""  # the id of some Observation that the server has shown us
        self._by_code = tuple(by_code)
        self._medicines = Medicines(client, self._common(), settings.batch_patients)

    def population(self, scope: Scope) -> Iterator[str]:
        """Patients from one paged search that asks only for the subject of each result."""
        if scope.mode is Mode.NAMED:
            yield from scope.patients
        elif scope.mode is Mode.BACKFILL:
            yield from self._with_results(self._ways((Analyte.MG,), refused=True), [("date", f"ge{scope.oldest}")])
            yield from self._undated()
        else:
            yield from self._changed(parse_instant(scope.since))

    def _changed(self, since: datetime) -> Iterator[str]:
        """Patients with a result that changed since an instant: by `_lastUpdated`, or by the results' own dates where the server does
        not take that, or the site says so."""
        # Results are stamped before they are visible: a late commit lands behind the watermark.
        asked = since - timedelta(minutes=self._settings.overlap_minutes)
        dated = [("date", f"ge{(since - timedelta(days=self._settings.result_date_days)).date().isoformat()}")]
        updated = [("_lastUpdated", f"ge{instant_text(asked)}")]
        ways = self._ways(LABORATORY)
        if self._settings.nights == "last-updated":
            try:
                yield from self._with_results(ways, updated, not_before=asked, perhaps_refused=True)
            except RequestRefused as refused:
                try:
                    self._any_result([ways[0], *dated])
                except RequestRefused:
                    raise needs_a_list_error(self._client.host, refused) from refused
                log.warning("nights_by_result_date", why=f"the server refused a search by _lastUpdated: {refused.what}")
            else:
                return
        self.reading.by_result_date = True
        yield from self._with_results(ways, dated)

    def _any_result(self, params: Sequence[tuple[str, str]]) -> None:
        """RequestRefused where the server does not take this search across patients."""
        asked = [*params, ("_elements", "subject,status"), *self._tagged(), ("_count", "1")]
        next(search(self._client, "Observation", asked), None)

    def _undated(self) -> Iterator[str]:
        """Patients with results that only say when they were issued: a search by date does not find these."""
        try:
            ways = self._ways((Analyte.MG,), refused=True)
            yield from self._with_results(ways, [("date:missing", "true")], perhaps_refused=True)
        except RequestRefused:
            log.warning(
                "undated_results_not_searched", remedy="the server takes no date:missing; nightly runs see them"
            )

    def _ways(
        self, analytes: Collection[Analyte], *, refused: bool = False, further: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        """The searches that together find the results of these analytes, as parameter and value."""
        codes = ",".join((*self._mapper.codes_for(analytes, refused=refused), *further))
        texts = ",".join(text.replace(",", "\\,") for text in self._mapper.texts_for(analytes))
        return [*((by, codes) for by in self._by_code), *([(_BY_TEXT, texts)] if texts else [])]

    def _with_results(
        self,
        ways: Sequence[tuple[str, str]],
        window: Sequence[tuple[str, str]],
        not_before: datetime | None = None,
        *,
        perhaps_refused: bool = False,
    ) -> Iterator[str]:
        """`perhaps_refused`: RequestRefused is raised as it is, for the caller to find another way."""
        for way in ways:
            params = [way, *window, ("_elements", "subject,status"), *self._common()]
            for found in self._across_patients(params, perhaps_refused=perhaps_refused):
                if not_before is not None and found.head.meta.lastUpdated:
                    self._check_window(found, not_before)
                named = read(found.raw, WithSubject)
                if named is None:
                    self.reading.bad_lines += 1
                elif patient := self._mapper.patient_id(named.subject.reference):
                    yield patient
                elif not named.subject.reference:
                    self.reading.without_patient += 1

    def _across_patients(self, params: Sequence[tuple[str, str]], *, perhaps_refused: bool) -> Iterator[Found]:
        try:
            yield from self._found(search(self._client, "Observation", params), params)
        except RequestRefused as error:
            if perhaps_refused:
                raise
            raise needs_a_list_error(self._client.host, error) from error

    def _check_window(self, found: Found, not_before: datetime) -> None:
        """Check that the server has not ignored the search parameter: some servers do, and answer everything."""
        updated_us = instant_us(found.head.meta.lastUpdated)
        if updated_us and updated_us < epoch_us(not_before) - US_PER_SECOND:
            raise ignored_parameter_error(self._client.host, "_lastUpdated")

    def records(self, patients: Sequence[str], standing: Collection[str]) -> list[PatientRecord]:
        """Read Patients, then the results of those who may be assessed, then the exclusions of those with a result."""
        rows: list[Mapped] = list(self._rows("Patient", patients))
        known = {row.patient: row for row in rows if isinstance(row, Demographics)}
        eligible = [p for p in patients if p in standing or eligibility.may_be_assessed(known.get(p))]
        rows += self._results(eligible)
        self._note("Observation", if_whole=False)
        matter = _with_magnesium(rows, eligible, standing)
        if matter:
            named = {row.patient for row in rows if isinstance(row, Fact) and row.specimen}
            for kind, need in self.needs.items():
                # Where results name no Specimen, nothing is asked of them.
                asked = [patient for patient in matter if patient in named] if kind == "Specimen" else matter
                rows += self._excluding(kind, need, asked)
        settled = self._mapper.resolve_medications(rows, self.medicines(_named_medicines(rows)))
        return gather(patients, settled, dict.fromkeys(matter, self.reading.gaps()), self.needs)

    def medicines(self, names: Collection[str]) -> Mapping[str, Medicine]:
        """The Medication resources of these ids."""
        return self._medicines.of(names)

    def _excluding(self, kind: str, need: str, patients: Sequence[str]) -> list[Mapped]:
        """The rows of one excluding type, none where it cannot be read; `reading` says how it ended."""
        if kind in self.reading.not_readable or kind in self.reading.not_offered:
            return []
        try:
            rows = list(self._rows(kind, patients))
            self.reading.seen.setdefault(kind, 0)
            self.reading.asked[kind] = self.reading.asked.get(kind, 0) + len(patients)
        except ServerError as error:
            if not is_about_the_type(error):
                raise  # an expired token or an unwell server: it says nothing of the type, and the run stops
            if need == "if_offered":
                self._not_offered(kind, need, error.what)
            else:
                self.reading.cannot(kind, error.what)
            return []
        self._note(kind)
        return rows

    def _note(self, kind: str, *, if_whole: bool = True) -> None:
        """How the reading of a type ended that the server shows; without `if_whole` only where there is something to say."""
        categories = self._patients.categories(kind)
        if categories is None:
            if if_whole:
                self.reading.whole(kind)
        elif categories.confirmed:
            self.reading.whole(kind, categories.listed)
        else:
            self.reading.in_part(kind, f"the server shows it by category only: {categories.listed}", categories.listed)

    def _not_offered(self, kind: str, need: str, why: str) -> None:
        """A type that the server does not have. Where it is read only if it is offered, nothing more is said of it."""
        self.reading.not_offered.add(kind)
        log.info("type_not_offered", type=kind)
        if need != "if_offered":
            self.reading.cannot(kind, why)

    def lacks(self, kinds: Mapping[str, str]) -> ServerError:
        """The error of required types that cannot be read whole here."""
        (kind, why), *others = kinds.items()
        named = " and ".join(f"exclusions.{_setting(one)}" for one in kinds)
        also = f" (and {', '.join(name for name, _ in others)} neither)" if others else ""
        do = f"Grant system/{kind}.rs, or enable it on the server"
        if categories := self._patients.categories(kind):
            do = (
                "Ask the vendor which categories there are, and confirm them, e.g. "
                f'server.{_setting(kind)}_categories = "{categories.listed}"'
            )
        return ServerError(
            f"{kind} cannot be read whole: {why}{also}, and {named} {'are' if others else 'is'} required",
            f"{do}. To go on without it, set it to optional: every assessment will then say so",
        )

    def read_more(self, mapper: RowMapper[R], patients: Sequence[str]) -> list[R]:
        """One search for each resource type; of Observations also one for those whose components have the codes."""
        rows: list[R] = []
        for kind, codes in mapper.kinds.items():
            listed = ",".join(codes)
            for by in self._by_code if kind == "Observation" and listed else ("code",):
                rows += self._read(mapper.map, kind, patients, [(by, listed)] if listed else [])
        return rows

    def _rows(self, kind: str, patients: Sequence[str]) -> Iterator[Mapped]:
        tokens = self._mapper.tokens_for(kind)
        return self._read(self._mapper.map, kind, patients, [("code", ",".join(tokens))] if tokens else [])

    def _results(self, patients: Sequence[str]) -> Iterator[Mapped]:
        for way in self._ways(list(Analyte), refused=True, further=self._mapper.further_tokens()):
            yield from self._read(self._mapper.map, "Observation", patients, [way])

    def _read(
        self,
        to_rows: Callable[[msgspec.Raw], tuple[R, ...]],
        kind: str,
        patients: Sequence[str],
        narrowed: Sequence[tuple[str, str]],
    ) -> Iterator[R]:
        if not patients:
            return
        asked = set(patients)
        params = [*self._common(), *narrowed]
        for found in self._found(self._patients.find(kind, patients, params), params):
            if kind in self.needs:
                self.reading.seen[kind] = self.reading.seen.get(kind, 0) + 1
            elif kind == "Observation":
                self._control = self._control or found.head.id
            for row in self._mapped(to_rows, found):
                if row.patient not in asked:
                    raise ignored_parameter_error(
                        self._client.host, "_id" if kind == "Patient" else "subject or patient"
                    )
                yield row

    def _found(self, matches: Iterator[Found], params: Sequence[tuple[str, str]]) -> Iterator[Found]:
        try:
            yield from matches
        except RequestRefused as error:
            if _BY_TEXT not in dict(params):
                raise
            raise ServerError(
                f"{self._client.host} takes no search by {_BY_TEXT}, which rows without a system need in codes.codes",
                "Map a code instead of a text, or read from a bulk export (--from DIR)",
            ) from error

    def _mapped(self, to_rows: Callable[[msgspec.Raw], tuple[R, ...]], found: Found) -> tuple[R, ...]:
        try:
            return to_rows(found.raw)
        except MalformedResource:
            self.reading.bad_lines += 1
            return ()

    def _common(self) -> list[tuple[str, str]]:
        return [("_count", str(self._settings.page_size)), *self._tagged()]

    def _tagged(self) -> list[tuple[str, str]]:
        return [("_tag", self._settings.only_tag)] if self._settings.only_tag else []

    def identifiers(self, patients: Sequence[str], system: str) -> dict[str, str]:
        """The business identifier of each patient in a system, where there is exactly one."""
        found: dict[str, set[str]] = {}
        for entry in self._patients.find("Patient", patients, self._common()) if patients else ():
            patient_ = read(entry.raw, WithIdentifiers)
            named = patient_.identifier if patient_ else ()
            found.setdefault(entry.head.id, set()).update(n.value for n in named if n.system == system and n.value)
        return {patient: next(iter(found[patient])) for patient in patients if len(found.get(patient, ())) == 1}

    def close(self) -> None:
        """Give the connections back."""
        self._patients.close()

    def women(self, born_until: str, at_most: int) -> tuple[list[str], int | None]:
        """By the administrative gender and the birth date; the first ones that the server gives."""
        wanted = [("gender", "female"), ("birthdate", f"le{born_until}"), *self._common()]
        counted = self._client.get("Patient", [*wanted, ("_summary", "count")], what="a count of women")
        total: _Total = decode(counted, _Total, "a count of women", self._client.host)
        found = search(self._client, "Patient", [*wanted, ("_elements", "id")])
        return [entry.head.id for entry in islice(found, at_most)], total.total

    def basis(self, observations: Collection[str]) -> dict[str, Basis]:
        """Read each Observation by its id. Gone (404, 410) counts only while a control read succeeds."""
        return {name: self._basis(name) for name in sorted(observations)}

    def _basis(self, name: str) -> Basis:
        answer = self._client.get(f"Observation/{name}", what="an Observation by its id", allow=(404, 410))
        if answer.status in (404, 410):
            return Basis(seen=True, gone=True) if self._control_read() else Basis(seen=False)
        head: _Result = decode(answer, _Result, "an Observation by its id", self._client.host)
        try:
            rows = self._mapper.map(answer.body)
        except MalformedResource:
            return Basis(seen=False)
        measured = tuple(row for row in rows if isinstance(row, Fact | Refusal))
        withdrawn = head.status in ("entered-in-error", "cancelled")
        return Basis(seen=True, withdrawn=withdrawn, updated_us=instant_us(head.meta.lastUpdated), rows=measured)

    def shows(self, kind: str) -> bool | None:
        """Whether the server shows any resource of a type; None where it does not let us ask."""
        try:
            return next(search(self._client, kind, [*self._tagged(), ("_count", "1")]), None) is not None
        except ServerError as error:
            if is_about_the_type(error):
                return None
            raise

    def _control_read(self) -> bool:
        """Whether the server still shows us an Observation: else "gone" may only mean that we may not see it."""
        if not self._control:
            params = [("_count", "1"), ("_elements", "status")]
            try:
                found = next(search(self._client, "Observation", params), None)
            except RequestRefused:  # a server that searches within one patient only
                return False
            if found is None:
                return False
            self._control = found.head.id
        read = self._client.get(f"Observation/{self._control}", what="a control read", allow=(404, 410))
        return read.status == 200


def _named_medicines(rows: Iterable[Mapped]) -> set[str]:
    return {row.medicine for row in rows if isinstance(row, UnresolvedMedication) and row.medicine}


def _with_magnesium(rows: Sequence[Mapped], patients: Sequence[str], standing: Collection[str]) -> list[str]:
    """The patients whose exclusions can make a difference: those with a usable Mg result, or with an assessment."""
    measured = {row.patient for row in rows if isinstance(row, Fact) and row.analyte is Analyte.MG}
    return [patient for patient in patients if patient in measured or patient in standing]


def _setting(kind: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in kind).lstrip("_")


def ignored_parameter_error(host: str, parameter: str) -> ServerError:
    """The error of a server that answers what was not asked for: nothing may be concluded from its answers."""
    return ServerError(
        f"{host} ignores the search parameter {parameter}: it answered what was not asked for",
        "Nothing may be concluded from its answers; ask its vendor, or read from a bulk export (--from DIR)",
    )
