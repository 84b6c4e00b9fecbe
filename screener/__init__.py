"""screener: keeps osteoporosis RiskAssessments on a FHIR server in step with its Observations."""

__version__ = "0.1.0"
