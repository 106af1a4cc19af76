"""The `landscape` command: finds a subcommand's file when it is asked for and turns errors into one line."""

from __future__ import annotations

import importlib
import os
import sys
import time
from contextlib import suppress
from typing import Any

import click

from landscape.errors import RequestError, WorkError

COMMANDS = {
    "train": "Train a network and store its checkpoint and history.",
    "connect": "Fit low-loss curves between checkpoints and store the loss along them.",
    "surface": "Evaluate the loss on a grid around checkpoints, along one to three directions.",
    "sharpness": "Measure how sharp the loss is at checkpoints.",
    "grok": "Train networks on operation tables and record when they memorise and when they generalise.",
    "descent": "Sweep a capacity past the interpolation threshold: double descent.",
    "figure": "Draw a figure of the lecture from its stored result, or compute it.",
    "show": "Summarise a store and draw its figure.",
    "data": "List the data sets and where they were found.",
    "optimizers": "List the optimizers with their hyperparameters and defaults.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run, so that `--help` stays light."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the command's file, `cli/<name>.py`."""
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f".{name}", __package__), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the nearest command when one is unknown."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from landscape.errors import unknown

            raise unknown("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="torch-landscape", prog_name="landscape")
def cli() -> None:
    """Train networks and look at their loss landscape: curves, surfaces, sharpness.

    Exit status: 0 done, 1 the work failed, 2 the request was wrong.
    """


def main(args: list[str] | None = None) -> None:
    """Run the command line; a wrong request is one line on stderr and exit status 2."""
    try:
        status = cli.main(args=args, standalone_mode=False)
    except RequestError as error:
        _end(str(error), 2)
    except WorkError as error:
        _end(str(error), 1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.UsageError as error:
        _end(error.format_message(), 2)
    except click.ClickException as error:
        _end(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _end("interrupted; the same command goes on where it stopped", 1)
    else:
        sys.exit(status if isinstance(status, int) else 0)


FIRST_SPEAKS = 10.0
"""Seconds that torchrun's other processes leave to the first one, which most often has the same to say."""


def _end(message: str, status: int) -> None:
    """Say what went wrong, folded into one line, and leave."""
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0":
        with suppress(KeyboardInterrupt):
            time.sleep(FIRST_SPEAKS)  # where the first process has ended, torchrun ends this one meanwhile
    click.echo("Error: " + " ".join(message.split()), err=True)
    sys.exit(status)
