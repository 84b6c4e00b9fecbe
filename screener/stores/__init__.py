"""Where records come from and where assessments go: FHIR servers and folders, behind two small protocols."""
