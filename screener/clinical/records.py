"""The records that pass between the steps: facts, refusals, and all that is known of one patient.

The records are frozen and packed as arrays, so that the same bytes can serve as worker pipe, spill file and shuffle row.
Times are whole microseconds since 1970-01-01T00:00Z (`_us`); days are proleptic ordinals (`date.toordinal`) of the
date *as the source wrote it*, because a laboratory's day is the patient's day, not UTC's.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec


class Analyte(StrEnum):
    """What is read of Observations. Units after mapping: mmol/L, mmol/L, ng/mL, ng/mL, kg, cm; then mL/min/1.73 m2, mmol/L, g/L, none, ng/mL.

    The first six are what the nomogram needs measured; the others decide who is assessed, or what an assessment has to mention.
    Creatinine (umol/L) stands in for an eGFR that nobody reported. Osteocalcin (OCN) is read for a validation cohort, and where a site's own model has it as a further predictor.
    """

    MG = "mg"
    P = "p"
    CTX = "ctx"
    P1NP = "p1np"
    WEIGHT = "weight"
    HEIGHT = "height"
    EGFR = "egfr"
    CALCIUM = "calcium"
    ALBUMIN = "albumin"
    T_SCORE = "t_score"
    CREATININE = "creatinine"
    OCN = "ocn"


FURTHER_RESULTS = (Analyte.OCN,)  # further predictors that a site's own model may have (model.predictors.FURTHER)
LABORATORY = frozenset({Analyte.MG, Analyte.P, Analyte.CTX, Analyte.P1NP, *FURTHER_RESULTS})
OF_BLOOD = LABORATORY | {Analyte.CALCIUM, Analyte.ALBUMIN, Analyte.CREATININE, Analyte.EGFR}
NOMOGRAM_RESULTS = (Analyte.MG, Analyte.P, Analyte.CTX, Analyte.P1NP, Analyte.WEIGHT, Analyte.HEIGHT)


NO_PATIENT = "it does not say which patient it is about"


# Rules of statements that do not come from the list alone. What follows the colon is the rule of the list.
SUSPECTED = "suspected:"  # its words alone point to it
NOT_UNDERSTOOD = "not_understood"  # it cannot be read
LENGTH_UNKNOWN, END_UNKNOWN, DOUBTFUL = "length_unknown", "end_unknown", "doubtful"
TREATED_BEFORE = "treated_before"
MAGNESIUM_GIVEN = "magnesium_given"


class MalformedResource(ValueError):
    """A resource that cannot be used at all: no JSON object with a type, or one that would count and does not say for which patient.
    The message never holds content."""


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of the packed records."""


class Version(Row, order=True, frozen=True, array_like=True):
    """Which copy of a resource this is; the greater one is the later one."""

    updated_us: int = 0
    number: int = 0


class Moment(Row, frozen=True, array_like=True):
    """When something was measured.

    `text` is as the source wrote it; `day` the calendar day in it; `instant_us` orders results within a day (noon UTC
    of the day where only a date is known).
    """

    text: str
    day: int
    instant_us: int


class Fact(Row, frozen=True, array_like=True, tag=1):
    """One usable measurement in the model's unit."""

    patient: str
    id: str
    version: Version
    analyte: Analyte
    value: Decimal
    moment: Moment
    issued_us: int = 0
    comparator: str = ""  # only on a Mg whose side of the cut-off is certain all the same
    rank: int = 0  # 0 measured, 1 stated or estimated: measured wins on the same day
    marks: tuple[str, ...] = ()  # codes of what a reader should know (unusual value, unit unlike the code's)
    security: tuple[str, ...] = ()  # confidentiality codes of meta.security
    unit: str = ""  # in which it was sent, as the unit table writes it
    code: str = ""  # by which it was recognised, as Match writes it
    specimen: str = ""  # the id of the Specimen that it names
    sent: str = ""  # value and unit as they were sent, where that was another unit than the model's


class Refusal(Row, frozen=True, array_like=True, tag=2):
    """One measurement that must not be used, and why. It keeps id and version, so that it can supersede a Fact."""

    patient: str
    id: str
    version: Version
    analyte: Analyte
    reason: str
    day: int = 0
    withdrawn: bool = False  # entered-in-error or cancelled: positive evidence against what rests on it


class Exclusion(Row, frozen=True, array_like=True, tag=3):
    """One statement that may exclude a patient: a diagnosis, a medicine, a procedure.

    `start_day` 0 means unknown start (counts from ever); `end_day` 0 means no known end. `counts` is False for a copy that
    does not exclude (refuted, entered in error): it is kept so that it supersedes an older copy by version.
    """

    patient: str
    resource: str  # "Condition", "MedicationRequest", ...
    id: str
    version: Version
    rule: str  # row of the exclusion list: "malignancy", "glucocorticoid", ...
    start_day: int = 0
    end_day: int = 0
    counts: bool = True
    caveat: bool = False  # it excludes nobody, and the assessment says so
    by: str = ""  # system|code of the list's row
    words: str = ""  # the source's own, where they are all that points to the rule
    minimum_days: int = (
        0  # one course of several that are added up: from so many days of intake within a year they count,
    )
    washout_days: int = 0  # and for so many days after the last one
    length_known: bool = True  # of such a course; else its last day is only the last on which something was heard of it
    security: tuple[str, ...] = ()  # confidentiality codes of meta.security


class Menopause(Row, frozen=True, array_like=True, tag=4):
    """A documented menopausal status: "post", "pre" or "peri"; "period" where all that is documented is her last menstruation;
    "pregnant" and "not_pregnant"; "hysterectomy", after which a last menstruation says nothing more."""

    patient: str
    resource: str
    id: str
    version: Version
    status: str
    day: int = 0
    counts: bool = True
    surgical: bool = False  # the ovaries were removed
    last_period_day: int = 0  # of her last menstruation, where that is what the statement says


class Demographics(Row, frozen=True, array_like=True, tag=5):
    """Who the patient is, as far as the rules need it."""

    patient: str
    version: Version
    sex: str  # "female", "male", "other", "unknown"; "not_clear" where what is recorded contradicts itself
    birth_date: str = ""  # as written: YYYY, YYYY-MM or YYYY-MM-DD; "" unknown, "malformed" unreadable
    deceased: bool = False
    active: bool = True
    merged: bool = False
    security: tuple[str, ...] = ()
    gender: str = ""  # the administrative one
    recorded_sex: str = ""  # at birth, or another recorded one where that is all


class Unreadable(Row, frozen=True, array_like=True, tag=6):
    """A resource that may matter for `patient` and cannot be understood. `patient` is never empty."""

    patient: str
    resource: str
    id: str
    version: Version


class Span(Row, frozen=True, array_like=True):
    """When something held. Days are ordinals; 0 is unknown. `documented_end` is False where the end is only inferred; of a medicine
    whose end is not documented, `changed_day` is when the resource was last changed."""

    start_day: int = 0
    end_day: int = 0
    over: bool = False
    documented_end: bool = False
    changed_day: int = 0


class UnresolvedMedication(Row, frozen=True, array_like=True, tag=7):
    """A statement about a medicine that stands in a Medication resource of its own: `medicine` is that one's id, or ""."""

    patient: str
    resource: str
    id: str
    version: Version
    medicine: str
    span: Span
    counts: bool
    route: str = ""  # "systemic", "parenteral", "local" or not known
    modified: bool = False  # it carries a modifierExtension, which may turn its meaning round


class Sample(Row, frozen=True, array_like=True, tag=8):
    """A Specimen whose results must not be used, and why; without a reason it is a later copy against which nothing speaks."""

    patient: str
    id: str
    version: Version
    reason: str


class Medicine(Row, frozen=True, array_like=True):
    """A Medication resource; `concept` is the CodeableConcept of all its codings, as JSON."""

    id: str
    version: Version
    concept: bytes


class PatientRecord(msgspec.Struct, frozen=True):
    """All that is known of one patient, in any order, versions not yet merged.

    `unchecked` names the excluding resource types that were not read, by configuration or because the server would not;
    `unreadable` those required ones in which a resource of this patient could not be understood. `in_part` are types that were read in
    part, `by_category` those that were read by category, whole as the site says: "TYPE:CATEGORIES", or the type alone.
    """

    patient: str
    demographics: tuple[Demographics, ...] = ()
    facts: tuple[Fact, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    menopause: tuple[Menopause, ...] = ()
    samples: tuple[Sample, ...] = ()
    unchecked: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    in_part: tuple[str, ...] = ()
    by_category: tuple[str, ...] = ()


class Method(StrEnum):
    """The two assessments that a patient can have: two methods, two occasions, two sets of evidence."""

    NOMOGRAM = "nomogram"
    FLAG = "mg-flag"


class Outcome(StrEnum):
    """How a patient ended; every patient of a run ends in exactly one."""

    SCORED = "scored"
    FLAG_ONLY = "flag_only"
    NOT_ELIGIBLE = "not_eligible"
    NOT_SCORABLE = "not_scorable"
    FAILED = "failed"


class Occasion(Row, frozen=True, array_like=True):
    """The evidence of one method: the Mg result that dates it, and what was found around it.

    `facts` holds the Mg result first; `age_years` is completed years on the occasion's day; `bmi_kg_m2` is None for the flag.
    `marks` are codes of what a reader must know.
    """

    method: Method
    facts: tuple[Fact, ...]
    age_years: int
    at_or_below_cut_off: bool
    bmi_kg_m2: Decimal | None = None
    marks: tuple[str, ...] = ()
    reduced: str = ""  # the name of the reduced nomogram, where predictors are missing and the site wants one

    @property
    def mg(self) -> Fact:
        """The Mg result that dates the occasion."""
        return self.facts[0]


class Scores(Row, frozen=True, array_like=True):
    """What the nomogram says: risks as fractions, points as the nomogram counts them.

    `other_side_risk` is the risk had the Mg fallen on the other side of the cut-off; None unless it lies near it.
    """

    risk: float
    risk_low: float
    risk_high: float
    linear_predictor: float
    points: dict[str, float]
    total_points: float
    extrapolated: tuple[str, ...] = ()
    other_side_risk: float | None = None
