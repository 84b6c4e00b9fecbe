"""One file per command group: its options, its help, and the call into the job."""
