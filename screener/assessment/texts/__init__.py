"""What our assessments say in words, one JSON file for each language."""

import json
from importlib.resources import files
from string import Template


class Texts:
    """The sentences of one language, by key."""

    def __init__(self, language: str = "en") -> None:
        path = files(__name__) / f"{language}.json"
        if not path.is_file():
            known = ", ".join(available())
            raise ValueError(f"there are no texts for the language {language!r}; choose one of: {known}")
        self.language = language
        self.sentences: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))

    def __call__(self, key: str, **values: str) -> str:
        """The sentence `key` with its values filled in; KeyError where the language lacks it."""
        return Template(self.sentences[key]).substitute(values)

    def caveat(self, code: str) -> str:
        """The sentence of a caveat; "name:detail" fills the detail in, or picks the sentence that this detail has of its own."""
        name, _, detail = code.partition(":")
        own = f"caveat.{name}.{detail}"
        return self(own if own in self.sentences else f"caveat.{name}", detail=detail)


def available() -> list[str]:
    """The languages that have texts."""
    return sorted(
        entry.name.removesuffix(".json") for entry in files(__name__).iterdir() if entry.name.endswith(".json")
    )
