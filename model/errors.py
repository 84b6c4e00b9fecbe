"""What can be wrong with a model or with what it is given."""


class ModelError(ValueError):
    """Base of the errors of this package; the message says what, where and what to do."""


class ArtefactError(ModelError):
    """A model artefact cannot be used."""


class PredictorError(ModelError):
    """A column of predictors holds what cannot be a measurement; the message names column and row, not the value."""
