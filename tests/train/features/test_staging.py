"""Staging buffers: used again when nothing refers to them, never before."""

import gc

import numpy as np
import torch

from crossan.train.features.staging import StagingBuffers

FLOAT16 = np.dtype(np.float16)


def test_a_buffer_is_used_again_when_its_tensor_is_gone():
    buffers = StagingBuffers((2, 3), FLOAT16, 10)
    one, other = buffers.take(10), buffers.take(4)
    assert (one.shape, one.dtype, other.shape) == ((10, 2, 3), torch.float16, (4, 2, 3))
    places = {one.data_ptr(), other.data_ptr()}
    assert len(places) == 2
    del one, other
    again = [buffers.take(7), buffers.take(8)]
    assert {tensor.data_ptr() for tensor in again} == places


def test_what_refers_to_the_storage_keeps_it():
    buffers = StagingBuffers((4,), FLOAT16, 5)
    states = buffers.take(5)
    states.fill_(3.0)
    part = states[1:2, :2]
    del states
    gc.collect()
    buffers.take(5).fill_(7.0)
    assert part.eq(3.0).all()


def test_what_autograd_saved_is_not_overwritten():
    buffers = StagingBuffers((4,), FLOAT16, 5)
    weight = torch.ones(4, requires_grad=True)
    states = buffers.take(5)
    states.fill_(3.0)
    loss = (states * weight).sum()
    del states
    buffers.take(5).fill_(7.0)
    loss.backward()
    assert weight.grad.eq(15.0).all()  # 5 rows of 3


def test_more_rows_than_foreseen_and_none_at_all():
    buffers = StagingBuffers((4,), FLOAT16, 2)
    assert buffers.take(0).shape == (0, 4)
    assert buffers.take(9).shape == (9, 4)
    assert buffers.take(3).shape == (3, 4)
