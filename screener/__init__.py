"""screener: keeps osteoporosis RiskAssessments on a FHIR server up to date with its Observations."""

__version__ = "1.0.0"
