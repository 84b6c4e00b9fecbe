"""What a run tells people and machines: counts and codes, never patients."""
