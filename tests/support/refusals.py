"""What a program says of a wrong command line."""

from __future__ import annotations

import pytest
import typer

from crossan.common.console.errors import as_usage_error


def refusal(app, *arguments):
    """Return the error that ends a program of this app, given arguments that it refuses."""
    program = typer.main.get_command(app)
    with pytest.raises(typer.TyperException) as refused:
        program.main([str(argument) for argument in arguments], "prog", standalone_mode=False)
    return str(as_usage_error(refused.value))
