"""The Medication resources of a FHIR server that prescriptions name."""

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus

import msgspec
import structlog

from screener.base.batches import batches
from screener.base.errors import AuthorisationError, RequestRefused, is_about_the_type
from screener.clinical import statements
from screener.clinical.records import Medicine
from screener.fhir.client import Client
from screener.fhir.search import search

log = structlog.get_logger()


class Medicines:
    """Asks for each Medication once a run, by a search or, where that is refused, by its id."""

    def __init__(self, client: Client, common: Sequence[tuple[str, str]], at_once: int) -> None:
        """`common`: the parameters of every search. `at_once`: ids in one search."""
        self._client, self._common, self._at_once = client, common, at_once
        self._found: dict[str, Medicine] = {}
        self._asked: set[str] = set()
        self._searched = self._readable = True

    def of(self, names: Collection[str]) -> Mapping[str, Medicine]:
        """The Medications of these ids that can be read, among those found earlier."""
        lacking = sorted(set(names) - self._asked)
        self._asked.update(lacking)
        for batch in batches(lacking, self._at_once):
            if self._searched:
                self._search(batch)
            if not self._searched:
                for name in batch:
                    self._read(name)
        return self._found

    def _search(self, names: Sequence[str]) -> None:
        try:
            for one in search(self._client, "Medication", [("_id", ",".join(names)), *self._common], post=True):
                self._keep(one.raw)
        except (AuthorisationError, RequestRefused) as error:
            if not is_about_the_type(error):
                raise
            self._searched = False
            log.warning("medications_not_searched", remedy="each is read by its id instead", why=error.what)

    def _read(self, name: str) -> None:
        """One that cannot be read leaves the prescriptions that name it unread, and no other."""
        if not self._readable:
            return
        try:
            answer = self._client.get(f"Medication/{name}", what="a Medication by its id", allow=(404, 410))
        except (AuthorisationError, RequestRefused) as error:
            if not is_about_the_type(error):
                raise
            if isinstance(error, AuthorisationError):
                self._readable = False
                log.warning(
                    "medications_not_readable", remedy="grant Medication: prescriptions that name one are unread"
                )
            return
        if answer.status == HTTPStatus.OK:
            self._keep(msgspec.Raw(answer.body))

    def _keep(self, resource: msgspec.Raw) -> None:
        medicine = statements.medicine(resource)
        if medicine:
            self._found[medicine.id] = medicine
