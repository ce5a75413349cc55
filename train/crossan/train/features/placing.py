"""Loading the hidden states to where they are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.common.console import note
from crossan.common.memory import first_line, ran_out_of_memory, show_size
from crossan.train.features.budget import Demand, Placement, Plan, Residence, make_plan
from crossan.train.features.interface import HiddenStates
from crossan.train.features.stored import StoredStates
from crossan.train.features.streamed import StreamedFeatures
from crossan.train.features.table import FeatureTable

__all__ = ["place_features"]


def place_features(
    stored: StoredStates, placement: Placement, device: torch.device, demand: Demand
) -> HiddenStates:
    """Load the hidden states that are to be kept, and print one line that says where they are.

    Where memory runs out despite the plan, because another process took it meanwhile, ``auto``
    goes on to the next residence.

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
        The machine has too little free memory, or it ran out.
    """
    on_cpu = device.type == "cpu"
    if on_cpu and placement.max_device_memory is not None:
        raise UsageError(
            "--max-device-memory: expected an accelerator, computing on the CPU",
            remedy="Use --max-ram",
        )
    plan = make_plan(stored, placement, device, demand)
    while True:
        shortage, features = _loaded(stored, plan, device, demand)
        if features is not None:
            return features
        # The failed tables are gone with the frame that held them. What torch keeps of them for
        # the next tensors is given back, so that the next plan counts it as free.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        lower = _next_plan(stored, placement, plan, device, demand)
        if lower is None:
            raise ResourceError(
                f"features, residence {plan.residence}: memory ran out while they were loaded:"
                f" {shortage}",
                remedy=_remedy(plan.residence),
            )
        note(
            f"features: residence {plan.residence} does not fit after all ({shortage}); trying"
            f" {lower.residence}"
        )
        plan = lower


def _loaded(
    stored: StoredStates, plan: Plan, device: torch.device, demand: Demand
) -> tuple[str, HiddenStates | None]:
    """Return the hidden states, or what was said where memory ran out."""
    try:
        return "", _load(stored, plan, device, demand)
    except (RuntimeError, MemoryError, OSError) as error:
        if not ran_out_of_memory(error):
            raise
        return first_line(error), None


def _next_plan(
    stored: StoredStates, placement: Placement, plan: Plan, device: torch.device, demand: Demand
) -> Plan | None:
    """Return the plan for the next residence that fits.

    It is None where none is left, or where the user has asked for the one that failed.
    """
    if placement.residence != "auto":
        return None
    on_cpu = device.type == "cpu"
    # On the CPU, `host` is the same as `device`.
    order: tuple[Residence, ...] = ("device", *(() if on_cpu else ("host",)), "streamed")
    for residence in order[order.index(plan.residence) + 1 :]:
        try:
            return make_plan(stored, replace(placement, residence=residence), device, demand)
        except (UsageError, ResourceError):
            continue  # it does not fit by the plan; the next one needs less
    return None


def _remedy(residence: Residence) -> str:
    if residence == "streamed":
        return "Keep fewer rows: --max-ram SIZE, and on an accelerator --max-device-memory SIZE"
    return "Use --residence auto, which takes what fits, or --residence streamed"


def _load(stored: StoredStates, plan: Plan, device: torch.device, demand: Demand) -> HiddenStates:
    """Load the hidden states as planned, and print where they are."""
    on_cpu = device.type == "cpu"
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
