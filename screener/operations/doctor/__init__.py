"""What an installation needs, looked at one thing after the other: this machine, the servers, and, where asked, a write."""
