"""Speaking to people: results on stdout, everything else on stderr, errors as exit codes.

What belongs here draws on a terminal and plain lines elsewhere. Only typer is
imported with it, and rich where something is drawn, so that ``--help`` stays
fast.
"""

from crossan.common.console.commands import add_command, app_settings
from crossan.common.console.live import Progress, progress
from crossan.common.console.messages import heading, note, print_json, print_text
from crossan.common.console.options import AsJson, Device, complete_from
from crossan.common.console.panels import Panel
from crossan.common.console.program import Version, resource_error, run_app, run_command
from crossan.common.console.streams import is_terminal, printable, printable_lines
from crossan.common.console.tables import Column, print_fields, print_table
from crossan.common.console.unknown_options import explains_options

__all__ = [
    "AsJson",
    "Column",
    "Device",
    "Panel",
    "Progress",
    "Version",
    "add_command",
    "app_settings",
    "complete_from",
    "explains_options",
    "heading",
    "is_terminal",
    "note",
    "print_fields",
    "print_json",
    "print_table",
    "print_text",
    "printable",
    "printable_lines",
    "progress",
    "resource_error",
    "run_app",
    "run_command",
]
