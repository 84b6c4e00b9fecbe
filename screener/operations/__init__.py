"""What a run tells people and machines when it has ended: report, metrics, health, a message to a webhook."""
