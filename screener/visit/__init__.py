"""At the visit: a CDS Hooks 2.0 service that answers `patient-view` with what the job would say of this patient. It writes nothing."""
