r"""A hypergraph whose edges are learned from the content of one modality (MHCR).

An item is tied to each of h hyperedges by a softmax over the products of its features with theirs,
and a user by that over the sum of their items'. What is random in training comes from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Draws", "Hypergraph", "gumbel", "step_draws", "ties"]


@dataclass(frozen=True, slots=True)
class Draws:
    """All that one pass over the hypergraphs draws, by modality, of items and of users."""

    noise: Sequence[tuple[Tensor, Tensor]]
    """What is added to logits, ``(items, hyperedges)`` and ``(users, hyperedges)``."""
    kept: Sequence[tuple[Tensor, Tensor]]
    """What ties are multiplied by, 0 where one is left out, of the same shapes."""
    permutations: Sequence[Tensor]
    """A node for each node, ``(users + items,)``, every one once."""


def step_draws(
    modality_count: int,
    counts: tuple[int, int],
    hyperedges: int,
    dropout: float,
    device: torch.device,
) -> Draws:
    """Draw from torch's generator what a step of training takes.

    Parameters
    ----------
    modality_count
        Modalities.
    counts
        Items and users.
    hyperedges
        Hyperedges of each modality.
    dropout
        Share of the ties that are left out.
    device
        Where they are drawn.
    """
    items, users = counts
    modalities = range(modality_count)
    noise = [
        (gumbel(items, hyperedges, device), gumbel(users, hyperedges, device)) for _ in modalities
    ]
    kept = [
        (_kept(items, hyperedges, dropout, device), _kept(users, hyperedges, dropout, device))
        for _ in modalities
    ]
    permutations = [torch.randperm(users + items, device=device) for _ in modalities]
    return Draws(noise, kept, permutations)


def gumbel(
    count: int,
    hyperedges: int,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw Gumbel noise, ``(count, hyperedges)``."""
    uniform = torch.rand(count, hyperedges, device=device, generator=generator)
    return uniform.log_().neg_().log_().neg_()


def _kept(count: int, hyperedges: int, dropout: float, device: torch.device) -> Tensor:
    """Draw zeros with a probability, and the inverse of the other one's, of which the mean is 1."""
    uniform = torch.rand(count, hyperedges, device=device)
    return uniform.ge_(dropout).mul_(1.0 / (1.0 - dropout))


def ties(
    logits: Tensor, temperature: float, noise: Tensor | None = None, kept: Tensor | None = None
) -> Tensor:
    """Return how much each row belongs to each hyperedge.

    Parameters
    ----------
    logits
        ``(rows, hyperedges)``.
    temperature
        Of the softmax over hyperedges.
    noise
        What is added to the logits, if anything.
    kept
        What the ties are multiplied by, if anything.
    """
    if noise is not None:
        logits = logits + noise
    shares = (logits / temperature).softmax(dim=1)
    return shares if kept is None else shares * kept


@dataclass(frozen=True, slots=True)
class Hypergraph:
    """One modality's rows of all nodes, and the small tables whose product they are."""

    ties: Tensor
    """Of all nodes to hyperedges, users first, ``(users + items, hyperedges)``."""
    edges: Tensor
    """Vectors of hyperedges, ``(hyperedges, width)``."""
    rows: Tensor
    """``(users + items, width)``."""

    @classmethod
    def of(cls, of_users: Tensor, of_items: Tensor, items: Tensor, rounds: int) -> Hypergraph:
        """Send vectors of items to the hyperedges and back some times, and then to users.

        Parameters
        ----------
        of_users, of_items
            Ties, ``(rows, hyperedges)`` each.
        items
            Vectors to start from, ``(items, width)``.
        rounds
            How often, at least once. Nothing is normalised: vectors grow with the catalogue.
        """
        edges = of_items.T @ items
        square = of_items.T @ of_items
        for _ in range(rounds - 1):
            # H^T (H z) by the small table H^T H.
            edges = square @ edges
        both = torch.cat([of_users, of_items])
        return cls(both, edges, both @ edges)
