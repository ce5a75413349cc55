"""The SQLite database of the service: its tables, and the one way to read and to write them.

What the rows mean is said by the rooms that own them: ``queue``, ``registry`` and ``nights``.
"""

from crossan.train.service.database.connection import Database
from crossan.train.service.database.errors import DatabaseUnusableError, DiskFullError

__all__ = ["Database", "DatabaseUnusableError", "DiskFullError"]
