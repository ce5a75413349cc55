"""The rooms of the service put together: what starts first, what stops last."""

from crossan.train.service.server.service import Service

__all__ = ["Service"]
