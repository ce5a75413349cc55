"""The graph of alike items: weights by hand, items without the modality, and sums below zero."""

import math

import pytest
import torch

from crossan.cache_schema.errors import ConfigError
from crossan.cache_schema.modality import Modality
from crossan.train.layers.similarity_graph import similarity_graph

VECTORS = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0], [float("nan"), 1.0]])
"""Cosines of the first three are 0.6, 0 and 0.8."""
IS_PRESENT = torch.tensor([True, True, True, False])


def test_an_edge_is_a_cosine_by_the_roots_of_both_rows_sums():
    graph = similarity_graph(VECTORS, IS_PRESENT, 2, Modality.TEXT)
    first, others = 1 + 0.6, 1 + 0.8
    expected = [
        [1 / first, 0.6 / math.sqrt(first * others), 0, 0],
        [0, 1 / others, 0.8 / others, 0],
        [0, 0.8 / others, 1 / others, 0],
        [0, 0, 0, 0],
    ]
    for row, numbers in zip(graph.toarray().tolist(), expected, strict=True):
        assert row == pytest.approx(numbers)


def test_more_neighbours_than_items_are_all_of_them():
    graph = similarity_graph(VECTORS, IS_PRESENT, 9, Modality.TEXT)
    assert graph.toarray()[:3, :3].all(axis=1).tolist() == [False, True, False]
    assert (graph.toarray()[3] == 0).all()
    assert (graph.toarray()[:, 3] == 0).all()


def test_features_of_zeros_have_no_edge_and_are_no_nan():
    graph = similarity_graph(torch.zeros(2, 3), torch.ones(2).bool(), 2, Modality.IMAGE)
    assert graph.toarray().tolist() == [[0, 0], [0, 0]]


def test_a_sum_below_zero_is_refused_by_the_name_of_the_modality():
    away = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])
    with pytest.raises(
        ConfigError, match=r"model.neighbours: .* alike in video, found 1 of 3"
    ) as told:
        similarity_graph(away, torch.ones(3).bool(), 3, Modality.VIDEO)
    assert "--set model.neighbours=1" in told.value.remedy
    similarity_graph(away, torch.ones(3).bool(), 1, Modality.VIDEO)
