"""Which model answers: processes of the recommender, started, watched and swapped.

The server process loads no model. It asks a process over a Unix socket, which answers from the version
that the alias ``production`` names.
"""

from crossan.train.service.serving.latency import Latency
from crossan.train.service.serving.serving import Serving, UnavailableError

__all__ = ["Latency", "Serving", "UnavailableError"]
