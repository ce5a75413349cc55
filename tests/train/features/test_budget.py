"""Which limit a residence comes up against, on an accelerator that nobody needs to have."""

import numpy as np
import pytest
import torch

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.train.features import budget
from crossan.train.features.budget import Demand, Placement

MIB = 1 << 20
ACCELERATOR, CPU = torch.device("cuda"), torch.device("cpu")


class Stored:
    """20,000 rows of 48 KiB: 937.5 MiB; 1,024 of them are 48 MiB, and the 256 on their way from a store 12 MiB."""

    item_count, index_bytes = 20_000, MIB
    row_bytes = resident_row_bytes = 48 * 1024


def room(residence="auto", ram=None, device_memory=None, device=ACCELERATOR):
    limits = [None if limit is None else int(limit * MIB) for limit in (ram, device_memory)]
    demand = Demand(rows_at_once=1_024, counts=np.ones(20_000, np.int64))
    return budget.make_plan(Stored, Placement(residence, *limits), device, demand)


IN_RAM = 2 * 48 + 12 + 1  # two batches, rows on their way, index: 109
ON_DEVICE = 2 * 48  # 96


@pytest.mark.parametrize(
    ("asked", "message", "remedy"),
    [
        # Enough RAM; the device's 16 MiB are not two batches.
        (("streamed", 8192, 16), r"residence streamed: 2 batches on cuda need 96 MiB \(100,663,296 bytes\), --max-device-memory allows 16 MiB", "Allow more: --max-device-memory 96MiB"),
        (("auto", 512, 16), r"residence streamed: 2 batches on cuda need 96 MiB .*, --max-device-memory allows 16 MiB", "Allow more: --max-device-memory 96MiB"),
        (("host", 8192, 1), r"residence host: 2 batches on cuda need 96 MiB .*, --max-device-memory allows 1.0 MiB", "Allow more: --max-device-memory 96MiB"),
        # 937.5 + 96 = 1,033.5 on the device, whatever the RAM; 937.5 + 109 = 1,046.5 in RAM.
        (("device", 1, 64), r"residence device: the features, 2 batches on cuda need 1.0 GiB \(1,083,703,296 bytes\), --max-device-memory allows 64 MiB", "Use --residence streamed, or allow more: --max-device-memory 1034MiB"),
        (("host", 512, 64), r"residence host: the features, 2 batches and the items' index need 1.0 GiB .*, --max-ram allows 512 MiB", "Use --residence streamed, or allow more: --max-ram 1047MiB"),
        (("device", 512, None, CPU), r"residence device: the features, 2 batches and the items' index need 1.0 GiB .*, --max-ram allows 512 MiB", "Use --residence streamed, or allow more: --max-ram 1047MiB"),
        # Neither does: RAM is named first.
        (("streamed", 64, 16), r"residence streamed: 2 batches and the items' index need 109 MiB .*, --max-ram allows 64 MiB", "Allow more: --max-ram 109MiB"),
    ],
)  # fmt: skip
def test_the_limit_that_fails_is_named(asked, message, remedy):
    with pytest.raises(UsageError, match=message) as caught:
        room(*asked)
    assert caught.value.remedy == remedy


def test_a_device_without_memory_is_no_wrong_flag(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * MIB, 80 * MIB))
    with pytest.raises(
        ResourceError, match=r"2 batches on cuda need 96 MiB .*, only 16 MiB are free"
    ) as caught:
        room("host", ram=8192)
    assert (
        caught.value.remedy
        == "Use a smaller batch: --set batch_size=..., or a machine with more memory"
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [  # chosen, items on the device, items in RAM
        (("auto", 8192, ON_DEVICE + 937.5), ("device", 20_000, 0)),
        (("auto", IN_RAM + 937.5, ON_DEVICE), ("host", 0, 20_000)),
        (
            ("auto", IN_RAM + 937.4, ON_DEVICE),
            ("streamed", 0, 19_997),
        ),  # 0.1 MiB are two rows and a bit
        (("auto", IN_RAM + 48, ON_DEVICE + 96), ("streamed", 2_048, 1_024)),
        (("streamed", IN_RAM, ON_DEVICE), ("streamed", 0, 0)),
        (("auto", IN_RAM + 937.5, None, CPU), ("device", 0, 20_000)),
    ],
)
def test_what_just_fits_is_chosen(asked, expected):
    found = room(*asked)
    assert (found.residence, found.device_items, found.ram_items) == expected


def test_of_a_device_that_cannot_be_asked_a_step_is_taken_to_fit():
    found = room(ram=8192, device=torch.device("mps"))
    assert (found.residence, found.device_items, found.ram_items) == ("host", 0, 20_000)
