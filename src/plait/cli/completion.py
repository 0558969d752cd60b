"""`plait completion`: the script that makes a shell complete commands, options and run ids."""

import click
from click.shell_completion import get_completion_class

VARIABLE = "_PLAIT_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands in SHELL.

    \b
      plait completion bash >> ~/.bashrc
      plait completion zsh >> ~/.zshrc
      plait completion fish > ~/.config/fish/completions/plait.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click knows the three
    click.echo(kind(ctx.find_root().command, {}, "plait", VARIABLE).source())
