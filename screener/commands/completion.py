"""`screener completion`: completion of commands and options in a shell."""

import click

EPILOG = """\b
Examples:
  screener completion bash >> ~/.bashrc
  screener completion zsh >> ~/.zshrc
  screener completion fish > ~/.config/fish/completions/screener.fish
"""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Print the script that lets SHELL complete commands and options."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"This release of click completes nothing in {shell}")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "screener", "_SCREENER_COMPLETE").source())
