"""A run: what it needs, its steps, its schedule, and what it says of itself."""
