"""The audit log."""

from __future__ import annotations

from collections.abc import Sequence

from crossan.train.service.registry import AuditEntry
from crossan.train.service.web.pages.rendering import View

__all__ = ["audit_page"]


def audit_page(view: View, lines: Sequence[AuditEntry], last: int | None) -> str:
    """Return the page of the audit log.

    Parameters
    ----------
    view
        Who looks.
    lines
        The newest first.
    last
        Number of the last one where there are older ones.
    """
    return view.render("audit", lines=lines, last=last)
