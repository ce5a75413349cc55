"""The panels that a command's help has, and no others."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Panel"]


class Panel(StrEnum):
    """Which question an option answers; the panels stand in this order in most commands."""

    WHAT = "What"
    """What is read, and what is made of it."""
    SETTINGS = "Settings"
    """What the numbers depend on."""
    COMPUTES = "Where it computes"
    LIMITS = "Limits"
    """How much time, memory or work it may cost."""
    CLUSTER = "Cluster"
    OTHER = "Output and help"
    """What has no panel of its own: ``--json``, ``--help``, completion."""
