"""A device is picked by name, and one that this machine lacks is refused."""

from __future__ import annotations

import pytest
import torch

from crossan.cache_schema.errors import UsageError
from crossan.common.devices import pick_device


def test_a_named_device_is_that_device():
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("is_available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_prefers_cuda(monkeypatch, is_available, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_available)
    assert pick_device("auto").type == expected


@pytest.mark.parametrize("device", ["quantum", "cuda:99"])
def test_a_device_that_is_absent_or_unknown_is_refused(device):
    expected = f"--device {device}: not available on this machine: .+"
    with pytest.raises(UsageError, match=expected) as refusal:
        pick_device(device)
    assert refusal.value.remedy == "Use --device auto or --device cpu"
