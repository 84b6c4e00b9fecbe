"""What a source holds of what the nomogram needs, before anything is installed."""
