"""Bytes of storages are counted once each, from when they are shown to when they are released."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.common.storages import StorageCount


def bytes_of(count):
    return torch.zeros(count, dtype=torch.uint8)


def test_a_storage_counts_once_until_its_last_tensor_is_gone():
    count = StorageCount()
    whole = bytes_of(100)
    part = whole[10:20]
    count.add(whole)
    count.add(part)
    del whole
    assert count.live == 100
    del part
    assert (count.live, count.peak) == (0, 100)


def test_a_new_peak_begins_with_what_is_held():
    count = StorageCount(granule=512)
    held, passing = bytes_of(1), bytes_of(513)
    count.add(held)
    count.add(passing)
    del passing
    count.forget_peak()
    assert (count.live, count.peak) == (512, 512)
    del held


def test_what_was_there_before_does_not_count():
    count = StorageCount()
    before = bytes_of(100)
    count.ignore(before)
    count.add(before[:5])
    del before
    assert (count.live, count.peak, count._known) == (0, 0, set())


@given(st.lists(st.one_of(st.integers(1, 50), st.none()), max_size=30))
def test_the_peak_is_that_of_a_list_of_sizes(steps):
    """A number makes a storage of so many bytes, None releases the oldest."""
    count, held, most = StorageCount(), [], 0
    for size in steps:
        if size is not None:
            held.append(bytes_of(size))
            count.add(held[-1])
        elif held:
            held.pop(0)
        sizes = sum(each.numel() for each in held)
        most = max(most, sizes)
        assert count.live == sizes
    assert count.peak == most
