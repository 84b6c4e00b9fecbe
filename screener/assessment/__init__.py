"""What ought to stand on the server, and how it differs from what does. Pure, like the clinical rules."""
