"""The layouts in which others publish datasets, one file each.

Belongs here: finding the files of a layout and reading them into `SourceTables`.
Does not belong here: what is done with the tables afterwards (`importing`).
"""

from crossan.common.datasets.formats.choosing import FORMATS, choose_format
from crossan.common.datasets.formats.source import ImportSource, SourceTables

__all__ = ["FORMATS", "ImportSource", "SourceTables", "choose_format"]
