"""The paper's figures as data: each with its table, row and unit and, where the paper errs, a note."""

import json
from importlib.resources import files
from typing import Any


def published() -> dict[str, Any]:
    """The figures of Shi et al. 2026 that the reconstruction rests on; values in pairs are mean and standard deviation."""
    text = (files(__name__) / "shi2026.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
