"""The published osteoporosis model: evidence, reconstruction, artefact, nomogram.

Light to import (numpy only); what builds the model imports scipy when it is called.
"""

from model.artefact import SHIPPED, Artefact, Nomogram, Predictor, load_artefact
from model.errors import ArtefactError, ModelError, PredictorError
from model.nomogram import Assessment, assess
from model.odds import PAPER_PREVALENCE, at_prevalence
from model.predictors import ALL_PREDICTORS, MG_CUT_OFF_MMOL_L, PREDICTORS, UNITS, flag, flags

__all__ = [
    "ALL_PREDICTORS",
    "MG_CUT_OFF_MMOL_L",
    "PAPER_PREVALENCE",
    "PREDICTORS",
    "SHIPPED",
    "UNITS",
    "Artefact",
    "ArtefactError",
    "Assessment",
    "ModelError",
    "Nomogram",
    "Predictor",
    "PredictorError",
    "assess",
    "at_prevalence",
    "flag",
    "flags",
    "load_artefact",
]
