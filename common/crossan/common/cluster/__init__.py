"""What `crossan-extract` and `crossan-train` share of ``--engine ray``.

The way to a cluster, and errors that travel between its processes. Nothing here
imports Ray before `connected` does. What is done on the cluster belongs to those
who ask for it.
"""

from crossan.common.cluster.failure import Failure
from crossan.common.cluster.fitting import Crew, Node, fit_crew
from crossan.common.cluster.request import LOCAL, ClusterRequest, parse_engine

__all__ = ["LOCAL", "ClusterRequest", "Crew", "Failure", "Node", "fit_crew", "parse_engine"]
