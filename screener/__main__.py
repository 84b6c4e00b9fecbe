"""`python -m screener`."""

from screener.commands.cli import main

if __name__ == "__main__":
    main()
