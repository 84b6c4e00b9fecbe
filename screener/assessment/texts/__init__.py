"""What our assessments say in words, one JSON file for each language."""

import json
import re
from collections.abc import Sequence
from importlib.resources import files

from screener.clinical.records import NOT_UNDERSTOOD

_REMEMBERED = 16_384
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"-?\d+\.\d+")
_PLACE = re.compile(r"\$([a-z]+)")  # $detail, $a, $b ...


class Texts:
    """The sentences of one language, by key."""

    def __init__(self, language: str = "en") -> None:
        path = files(__name__) / f"{language}.json"
        if not path.is_file():
            known = ", ".join(available())
            raise ValueError(f"there are no texts for the language {language!r}; choose one of: {known}")
        self.language = language
        self.sentences: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        self._pieces = {key: _PLACE.split(sentence) for key, sentence in self.sentences.items()}
        self._said: dict[str, str] = {}  # of caveats, by code

    def __call__(self, key: str, **values: str) -> str:
        """The sentence `key` with its values filled in; KeyError where the language lacks it, or a value is missing."""
        pieces = self._pieces[key]
        if len(pieces) == 1:
            return pieces[0]
        filled = list(pieces)
        filled[1::2] = [values[name] for name in pieces[1::2]]
        return "".join(filled)

    def caveat(self, code: str) -> str:
        """The sentence of a caveat; the details of "name:detail:detail" are filled in, in the words of the language.

        A name may have a sentence for each number of details ("caveat.NAME/2"). What a site added itself has a general one.
        """
        said = self._said.get(code)
        if said is None:
            if len(self._said) >= _REMEMBERED:
                self._said.clear()
            said = self._said[code] = self._caveat(code)
        return said

    def known(self, code: str) -> str:
        """A caveat that says what is already known, in the few words that a card has room for."""
        return self._filled("card.known.", *self._parts(code))

    def _caveat(self, code: str) -> str:
        name, parts = self._parts(code)
        if name == NOT_UNDERSTOOD:
            parts = [self._counted(parts)]
        return self._filled("caveat.", name, parts) or self("caveat.condition", detail=name)

    def _filled(self, prefix: str, name: str, parts: Sequence[str]) -> str:
        keys = (f"{prefix}{name}/{len(parts)}", f"{prefix}{name}")
        key = next((key for key in keys if key in self.sentences), "")
        return self(key, detail=", ".join(parts), **dict(zip("abcd", parts, strict=False))) if key else ""

    def _counted(self, numbers: Sequence[str]) -> str:
        """ "3 diagnoses and 2 medicines are": how many of each kind, those that are none left out."""
        said = [
            self(f"count.{kind}/1") if number == "1" else self(f"count.{kind}", a=number)
            for kind, number in zip(("diagnoses", "procedures", "medicines"), numbers, strict=True)
            if number != "0"
        ]
        *first, last = said
        listed = self("count.and", a=", ".join(first), b=last) if first else last
        return self("count.is" if numbers.count("1") == 1 and not first else "count.are", a=listed)

    def detail(self, code: str) -> str:
        """The details of a caveat in words, "" where it has none."""
        return ", ".join(self._parts(code)[1])

    def _parts(self, code: str) -> tuple[str, list[str]]:
        name, *parts = code.split(":", 2 if code.startswith("suspected:") else -1)
        return name, [self.name(part) for part in parts]

    def day(self, text: str) -> str:
        """A day (YYYY-MM-DD, or a part of one) as the language writes it."""
        written = self.sentences["format.day"]
        return written.format(*text.split("-")) if _DAY.fullmatch(text) else text

    def number(self, text: str) -> str:
        """A decimal number, or a text that begins with one, as the language writes it."""
        point = self.sentences["format.point"]
        return text if point == "." else _NUMBER.sub(lambda found: found[0].replace(".", point), text, count=1)

    def lapse(self, reason: str) -> str:
        """Why an assessment no longer applies, in words; `excluded_RULE` names the rule."""
        own = f"lapse.{reason}"
        if own in self.sentences:
            return self(own)
        return self("lapse.excluded", detail=self.name(reason.removeprefix("excluded_")))

    def name(self, part: str) -> str:
        """A result, a rule or a resource type as a reader calls it; a day or a number as the language writes it; anything else as it
        is."""
        named = self.sentences.get(f"name.{part}") or self.sentences.get(f"rule.{part}")
        return named or (self.day(part) if _DAY.fullmatch(part) else self._plain_number(part))

    def _plain_number(self, part: str) -> str:
        return self.number(part) if _NUMBER.fullmatch(part) else part


def available() -> list[str]:
    """The languages that have texts."""
    return sorted(
        entry.name.removesuffix(".json") for entry in files(__name__).iterdir() if entry.name.endswith(".json")
    )
