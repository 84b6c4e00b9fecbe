"""The published osteoporosis model: evidence, reconstruction, nomogram."""
