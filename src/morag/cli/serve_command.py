"""`morag serve --help` tells every setting: its help is generated when it is asked for, not before."""

import sys
from typing import TYPE_CHECKING

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter


class ServeCommand(TyperCommand):
    """A command whose help ends with the settings."""

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the usual help, then the settings."""
        from morag.cli import settings_help  # noqa: PLC0415 - reading the settings' definition takes 0.3 s

        super().format_help(ctx, formatter)
        sys.stdout.write("\n".join(["", *settings_help.lines(), ""]))
