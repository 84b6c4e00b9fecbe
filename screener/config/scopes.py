"""The SMART scopes that a call needs (hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html, version 2 of SMART)."""

from screener.config.settings import Settings

READ = "rs"
READ_AND_WRITE = "crus"
READ_WRITE_AND_DELETE = "cruds"


def with_scopes(settings: Settings, *, reads: bool = True, assessments: str = "", groups: bool = False) -> Settings:
    """The settings with the scopes that are asked for, where the site has not set them.

    `reads`: patients and their records are read from the server. `assessments`: READ, READ_AND_WRITE or
    READ_WRITE_AND_DELETE where assessments are compared, written or deleted. `groups`: the call names a Group.
    """
    kinds = {"Patient", "Observation"} | {kind for kind, need in settings.exclusions.needs().items() if need != "off"}
    if any(kind.startswith("Medication") for kind in kinds):
        kinds.add("Medication")
    if groups or settings.bulk.level.startswith("Group/"):
        kinds.add("Group")
    here = [f"system/{kind}.{READ}" for kind in sorted(kinds)] if reads else []
    there = [f"system/{kind}.{assessments}" for kind in ("Device", "RiskAssessment")] if assessments else []
    if assessments == READ_AND_WRITE:
        there += scopes_besides(settings)
    elif assessments == READ_WRITE_AND_DELETE and settings.tasks.owner:
        there.append(f"system/Task.{READ_WRITE_AND_DELETE}")
    server, destination = settings.server, settings.destination
    if destination.base_url:
        there.insert(0, f"system/Patient.{READ}")
        destination = destination.model_copy(update={"scopes": destination.scopes or " ".join(there)})
    else:
        here += there
    server = server.model_copy(update={"scopes": server.scopes or " ".join(here)})
    return settings.model_copy(update={"server": server, "destination": destination})


_LETTER = {"create": "c", "update": "u", "search-type": "rs"}


def scopes_besides(settings: Settings) -> list[str]:
    """For what is written beside assessments and the Device."""
    return [
        f"system/{kind}.{''.join(letter for letter in 'crus' if letter in ''.join(_LETTER[one] for one in interactions))}"
        for kind, interactions, _ in settings.optional_writes
    ]
