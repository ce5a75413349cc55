"""The nearest items by hand, in any blocks, of items that have no vector, and the files that keep them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.layers import item_graph
from crossan.train.layers.item_graph import NO_ITEM, mean_of_neighbours, nearest_items

FOUR = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 5.0], [-1.0, 0.1]])
ALL = torch.ones(4, dtype=torch.bool)


def test_four_items_by_hand():
    neighbours, cosines = nearest_items(FOUR, ALL, 2)
    assert neighbours.tolist() == [[0, 1], [1, 0], [2, 1], [3, 2]] or neighbours.tolist() == [
        [0, 1], [1, 2], [2, 1], [3, 2],
    ]  # item 1 is as near to item 0 as to item 2  # fmt: skip
    assert cosines[:, 0] == pytest.approx(1.0)
    assert cosines[:, 1] == pytest.approx([2**-0.5, 2**-0.5, 2**-0.5, 0.1 / 1.01**0.5])


def test_an_absent_item_has_no_neighbours_and_is_nobodys():
    vectors = FOUR.clone()
    vectors[1] = torch.nan
    is_present = torch.tensor([True, False, True, True])
    neighbours, cosines = nearest_items(vectors, is_present, 4)
    assert neighbours[1].tolist() == [NO_ITEM] * 4
    assert not cosines[1].any()
    assert neighbours[0].tolist() == [0, 2, 3, NO_ITEM]
    matrix = mean_of_neighbours(neighbours).toarray()
    assert matrix[0].tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])
    assert not matrix[1].any()


def test_an_item_is_its_own_nearest_among_equal_ones():
    neighbours, _ = nearest_items(torch.ones(5, 3), torch.ones(5, dtype=torch.bool), 2)
    assert neighbours[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert (neighbours[:, 1] != neighbours[:, 0]).all()


def test_an_item_of_zeros_is_as_far_from_all():
    neighbours, cosines = nearest_items(torch.tensor([[0.0], [1.0]]), ALL[:2], 2)
    assert neighbours.tolist() == [[0, 1], [1, 0]]
    assert cosines.tolist() == [[0.0, 0.0], [1.0, 0.0]]


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 6))
def test_neighbours_are_those_of_all_cosines_at_once(seed, item_count, k):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(item_count, 5, generator=generator)
    is_present = torch.rand(item_count, generator=generator) < 0.8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_graph, "_ITEMS_PER_BLOCK", 7)
        neighbours, cosines = nearest_items(vectors, is_present, k)
    whole = torch.cosine_similarity(vectors.double().unsqueeze(1), vectors.double(), dim=2).numpy()
    present = is_present.nonzero().flatten().tolist()
    for item in range(item_count):
        others = sorted(present, key=lambda other, item=item: -whole[item, other])
        expected = others[:k] if item in present else []
        assert neighbours[item].tolist() == expected + [NO_ITEM] * (k - len(expected))
        assert cosines[item, : len(expected)] == pytest.approx(whole[item, expected], abs=1e-6)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Have the neighbours of any number of items kept, below a folder that is returned."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(item_graph, "_LEAST_KEPT", 1)
    return tmp_path / "crossan/item-graphs"


@pytest.fixture
def computed(monkeypatch):
    """Return a list that grows each time that neighbours are computed."""
    calls, compute = [], item_graph._nearest
    monkeypatch.setattr(
        item_graph, "_nearest", lambda *given: (calls.append(1), compute(*given))[1]
    )
    return calls


def test_the_same_vectors_are_compared_once(kept, computed):
    first, second = nearest_items(FOUR, ALL, 2), nearest_items(FOUR.clone(), ALL, 2)
    assert len(computed) == len(list(kept.iterdir())) == 1
    assert all(np.array_equal(*both) for both in zip(first, second, strict=True))


def test_whatever_differs_has_a_file_of_its_own(kept, computed):
    is_present = torch.tensor([True, True, True, False])
    changed = FOUR + torch.tensor([[0.0, 0.0], [0.0, 0.0], [1e-6, 0.0], [0.0, 0.0]])
    for vectors, present, k in (
        (FOUR, ALL, 2), (FOUR, ALL, 3), (FOUR, is_present, 2), (changed, ALL, 2), (FOUR.view(2, 4), ALL[:2], 2),
    ):  # fmt: skip
        nearest_items(vectors, present, k)
    assert len(computed) == len(list(kept.iterdir())) == 5


def test_what_lies_in_an_absent_row_is_no_part_of_the_key(kept, computed):
    is_present = torch.tensor([True, True, True, False])
    for value in (0.0, torch.nan):
        vectors = FOUR.clone()
        vectors[3] = value
        nearest_items(vectors, is_present, 2)
    assert len(computed) == len(list(kept.iterdir())) == 1


def damaged(data):
    """Yield what can become of a file: nothing, a part, other bytes, other arrays, other numbers."""
    yield b""
    yield data[: len(data) // 2]
    flipped = bytearray(data)
    flipped[data.index(b"\x93NUMPY") + 140] ^= 1  # within the numbers of an array
    yield bytes(flipped)
    yield from (
        {"neighbours": np.zeros((4, 2), np.int32)},
        {"neighbours": np.zeros((3, 2), np.int32), "cosines": np.zeros((3, 2), np.float32)},
        {"neighbours": np.full((4, 2), 4, np.int32), "cosines": np.zeros((4, 2), np.float32)},
        {"neighbours": np.zeros((4, 2), np.int32), "cosines": np.full((4, 2), np.nan, np.float32)},
        {"neighbours": np.full((4, 2), "x", object), "cosines": np.zeros((4, 2), np.float32)},
    )


def test_a_damaged_file_is_made_anew(kept, computed):
    expected = nearest_items(FOUR, ALL, 2)
    (file,) = kept.iterdir()
    data = file.read_bytes()
    for tried, what in enumerate(damaged(data), start=1):
        if isinstance(what, bytes):
            file.write_bytes(what)
        else:
            np.savez(file, **what)
        again = nearest_items(FOUR, ALL, 2)
        assert len(computed) == tried + 1
        assert all(np.array_equal(*both) for both in zip(again, expected, strict=True))
        assert file.read_bytes() == data
    assert tried == 8


def test_without_a_place_for_files_neighbours_are_computed(tmp_path, computed, monkeypatch):
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    monkeypatch.setattr(item_graph, "_LEAST_KEPT", 1)
    for _ in range(2):
        nearest_items(FOUR, ALL, 2)
    assert len(computed) == 2
