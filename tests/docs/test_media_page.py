"""The page on media explains each reason that an item can be quarantined for, and no other."""

import re
from pathlib import Path

from crossan.extract.media import MediaFault

PAGE = Path(__file__).parents[2] / "docs/media.md"
OTHERS = {"unreadable", "unusable-input", "bad-value"}
"""Reasons of the system, of processors and of hidden states."""


def test_each_reason_is_explained():
    table = PAGE.read_text().partition("## Reasons")[2]
    rows = re.findall(r"^\| (`[a-z`, -]+`) \|", table, re.MULTILINE)
    explained = {reason for row in rows for reason in re.findall(r"`([a-z-]+)`", row)}
    assert explained == {fault.value for fault in MediaFault} | OTHERS
