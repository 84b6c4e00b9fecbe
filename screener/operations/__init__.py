"""What people and machines are told of a run when it has ended: report, metrics, health, a message to a webhook."""
