"""Versions of models, the aliases that name them, and the audit log.

A version is a folder that never changes: the run whose figures were judged, and the run whose
weights are served. An alias, such as ``production``, is moved from one version to another by whoever
knows its revision, and by nobody else.
"""

from crossan.train.service.registry.registry import Registry
from crossan.train.service.registry.rows import REFIT_FOLDER, Alias, AuditEntry, Model, Move

__all__ = ["REFIT_FOLDER", "Alias", "AuditEntry", "Model", "Move", "Registry"]
