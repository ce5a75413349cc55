r"""The contrastive loss between the hypergraphs of several modalities (MHCR)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from crossan.train.layers.hypergraph import Hypergraph
from crossan.train.layers.log_partition import log_partition

__all__ = ["hyper_contrast"]


def hyper_contrast(
    graphs: Sequence[Hypergraph],
    candidates: int,
    nodes: slice,
    at: Tensor,
    counts: Tensor,
    temperature: float,
) -> Tensor:
    r"""Return the sum over some nodes of how little their rows agree between modalities.

    With unit rows :math:`a_m` of a node, one for each modality, and Z the unit rows of all nodes of
    its sort in one modality, it is the sum over nodes of

    .. math:: -\ln \frac{\sum_{m < m'} e^{a_m \cdot a_{m'} / t}}{\sum_m \sum_{z \in Z} e^{a_m \cdot z / t}}.

    Of one modality there are no pairs, and the loss is zero.

    Parameters
    ----------
    graphs
        A hypergraph of each modality.
    candidates
        Number of the one whose rows are Z.
    nodes
        Which of its rows those are.
    at
        The nodes of the batch, among all rows, ``(distinct,)``.
    counts
        How often the batch has each, ``(distinct,)``.
    temperature
        t.
    """
    units = [F.normalize(graph.rows.index_select(0, at)) for graph in graphs]
    if len(units) < 2:
        return units[0].new_zeros(())
    near = torch.stack(
        [torch.linalg.vecdot(one, other) for one, other in combinations(units, 2)]
    ).div(temperature)
    times = counts.to(near.dtype)
    anchors, all_units = torch.stack(units) / temperature, graphs[candidates]
    ties, rows = all_units.ties[nodes], all_units.rows[nodes]
    if ties.shape[1] < rows.shape[1]:
        # A row is the product of its ties and the hyperedges, which anchors are multiplied by once.
        lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1e-12)
        rows, anchors = ties / lengths, anchors @ all_units.edges.T
    else:
        rows = F.normalize(rows)
    far = log_partition(anchors, rows, times, torch.ones_like(rows[:, 0]))
    return far - times @ near.logsumexp(dim=0)
