"""Whether words call a specimen haemolysed: its magnesium then reads too high."""

import re

# "not haemolysed" and "Hemolysis: none" are good specimens: a denial right before the word, or right behind it.
_DENIED_BEFORE = (
    r"\b(?:no|not|non|nicht|without|free of|absence (?:of|d['\u2019])|kein|keine|ohne|frei von|pas|sans|aucune|sin|ausencia de)[\s-]*"
    r"(?:(?:visibly|visible|sichtbare|evidence of|signs? of|d['\u2019])\s*)?"
)
_DENIED_BEHIND = (
    r"(?:[\s-]*(?:index|indice|grade|score|status|check))?[\s:=(-]*(?:is|was|ist|im|est)?\s*"
    r"(?:none|no|nil|n|nein|non|negative?|negativ[oa]?|absente?|ausente|keine?r?|normal\w*(?! range exc)|normbereich|unauff(?:ä|ae)llig|"
    r"within (?:normal )?limits|ruled out|ausgeschlossen|not (?:present|detected|seen|observed|visible)|"
    r"nicht (?:vorhanden|nachweisbar|sichtbar)|<\s*\d+\s*\(normal\)|0|-)(?![\w.+])"
)
_HAEMOLYSIS = re.compile(
    rf"(?P<denied>{_DENIED_BEFORE})?h(?:ae|e|ä|æ|é)m[oó]l(?:y|i)\w*?(?:index)?\b(?P<denied_behind>{_DENIED_BEHIND})?"
    # an index with its unit, and what it is called
    r"(?:(?:[\s-]*(?:index|indice|indeks|grade|grad|score))?[\s:=(]*[<≤]?\s*(?P<index>\d+(?:[.,]\d+)?)(?!\s*\+)\s*(?P<unit>mg\s?/\s?dl)?"
    r"[\s,;:()-]*(?P<normal>normal\w*(?! range exc)|within (?:normal )?limits|unauff(?:ä|ae)llig|im normbereich|negativ\w*|not significant)?)?",
    re.IGNORECASE,
)
NO_HAEMOLYSIS_MG_DL = 50  # of free haemoglobin: below it the index of an analyser is called negative


def says_haemolysed(text: str) -> bool:
    """Whether a text calls the specimen haemolysed. An index that is called normal, or lies below 50 mg/dL with that unit, is none."""
    return any(not _denied(found) for found in _HAEMOLYSIS.finditer(text))


def _denied(found: re.Match[str]) -> bool:
    if found["denied"] or found["denied_behind"] or found["normal"]:
        return True
    return bool(found["unit"]) and float(found["index"].replace(",", ".")) < NO_HAEMOLYSIS_MG_DL
