"""Loading the hidden states to where they are kept."""

from __future__ import annotations

import numpy as np
import torch

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note
from crossan.common.memory import show_size
from crossan.train.features.budget import Demand, Placement, make_plan
from crossan.train.features.interface import HiddenStates
from crossan.train.features.stored import StoredStates
from crossan.train.features.streamed import StreamedFeatures
from crossan.train.features.table import FeatureTable

__all__ = ["place_features"]


def place_features(
    stored: StoredStates, placement: Placement, device: torch.device, demand: Demand
) -> HiddenStates:
    """Load the hidden states that are to be kept, and print one line that says where they are.

    Parameters
    ----------
    stored
        The stores.
    placement
        What the user requested.
    device
        Where the model computes.
    demand
        How the features will be used.

    Raises
    ------
    UsageError
        A limit that was given is too small, or is for an accelerator although
        the CPU computes.
    ResourceError
        The machine has too little free memory.
    """
    on_cpu = device.type == "cpu"
    if on_cpu and placement.max_device_memory is not None:
        raise UsageError(
            "--max-device-memory: expected an accelerator, computing on the CPU",
            remedy="Use --max-ram",
        )
    plan = make_plan(stored, placement, device, demand)
    everything = np.arange(stored.item_count)
    # On the CPU, RAM is the memory of the device: a whole table there is one plain tensor.
    if plan.residence == "device" or (on_cpu and plan.residence == "host"):
        tables = tuple(stored.load(m, everything, device) for m in range(len(stored.modalities)))
        where = "RAM" if on_cpu else f"the memory of {device}"
        note(f"features: all {show_size(plan.table_bytes)} in {where}")
        return FeatureTable(stored.modalities, tables, torch.from_numpy(stored.presence).to(device))
    # The most popular items first, those of one count by row, so that two runs keep the same ones.
    popular = everything if demand.counts is None else np.argsort(-demand.counts, kind="stable")
    kept = popular[: plan.device_items + plan.ram_items]
    on_device, in_ram = np.split(kept, [plan.device_items])
    note(plan.in_words())
    return StreamedFeatures(
        stored,
        device,
        np.sort(in_ram),
        np.sort(on_device),
        demand.rows_at_once,
        is_rechecked=plan.residence == "streamed",
    )
