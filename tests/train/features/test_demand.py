"""What training gathers, however its objective finds negatives, is what was budgeted for it."""

import numpy as np
import pytest
import torch

from crossan.train.evaluation import encoding as evaluation
from crossan.train.features import budget
from crossan.train.features.interface import Fetched
from crossan.train.features.staging import StagingBuffers
from crossan.train.features.streamed import StreamedFeatures
from crossan.train.objectives import Gathers, catalogue, gathers_of, table
from crossan.train.runs import opening
from crossan.train.settings import DataSettings, ObjectiveSettings, RunSettings
from support.commands import train_in
from support.fabricated import write_small

# Two users of at most 5 training items a step: 10 positions, of which some gather shows 8 or more.
SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "batch_size=2",
    "max_epochs=2",
    "data.max_items=7",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("demand"))


class Spy:
    """What was budgeted, the rows of every gather, and the buffers made for the modalities' rows."""

    def __init__(self, monkeypatch):
        self.demand, self.gathered, self.rows_of_buffers = None, [], []
        for module, name in ((opening, "ITEMS_PER_BLOCK"), (evaluation, "ITEMS_PER_BLOCK")):
            monkeypatch.setattr(
                module, name, 3
            )  # else the blocks of 1,024 are more than any batch here
        for module in (catalogue, table):
            monkeypatch.setattr(module, "ITEMS_PER_REFRESH", 4)
        place_features, fetch, make = (
            opening.place_features,
            StreamedFeatures.fetch,
            StagingBuffers._make,
        )

        def placed(stored, placement, device, demand):
            self.demand = demand
            return place_features(stored, placement, device, demand)

        def fetched(features, rows):
            self.gathered.append(len(rows))
            return fetch(features, rows)

        def made(buffers):
            self.rows_of_buffers.append(buffers._row_count)
            return make(buffers)

        monkeypatch.setattr(opening, "place_features", placed)
        monkeypatch.setattr(StreamedFeatures, "fetch", fetched)
        monkeypatch.setattr(StagingBuffers, "_make", made)


@pytest.mark.parametrize(
    ("settings", "rows", "at_once", "least"),
    [
        ((), 10, 2, 8),
        (
            ("objective.kind=catalogue", "objective.sample_size=3", "objective.refresh_steps=2"),
            13,
            3,
            11,
        ),
        (
            ("objective.kind=catalogue", "objective.sample_size=99", "objective.refresh_steps=2"),
            28,
            3,
            28,
        ),  # trained
        (
            ("objective.kind=cross-batch", "objective.sample_size=17", "objective.memory_size=30"),
            17,
            3,
            17,
        ),
        (
            ("objective.kind=cross-batch", "objective.sample_size=50", "objective.memory_size=40"),
            40,
            3,
            40,
        ),
        (("objective.kind=cross-batch", "objective.sample_size=2"), 10, 3, 8),
    ],
    ids=[
        "in-batch",
        "catalogue",
        "catalogue whole",
        "cross-batch",
        "cross-batch whole",
        "cross-batch small sample",
    ],
)
def test_what_is_gathered_was_budgeted(
    place, tmp_path, monkeypatch, settings, rows, at_once, least
):
    spy = Spy(monkeypatch)
    train_in(place, (*SETTINGS, *settings), "--residence", "streamed", out=tmp_path / "r")
    assert (spy.demand.rows_at_once, spy.demand.gathers_at_once) == (rows, at_once)
    assert least <= max(spy.gathered) <= rows
    # Of each of the two modalities as many as are in use at once, none ever too small; the last epochs use the first's.
    assert set(spy.rows_of_buffers) == {rows}
    assert len(spy.rows_of_buffers) <= 2 * at_once


def test_the_plain_step_gathers_every_position(place, tmp_path, monkeypatch):
    spy = Spy(monkeypatch)
    more = ("--set", "batch_size=20", "--reference", "--residence", "streamed")
    train_in(place, SETTINGS, *more, out=tmp_path / "r")
    assert (
        max(spy.gathered) == spy.demand.rows_at_once == 100
    )  # of 40 items: 20 users with 5 positions each


def test_the_papers_sizes():
    def gathers(kind, **more):
        settings = RunSettings(
            data=DataSettings(dataset="d"),
            objective=ObjectiveSettings(kind=kind, **more),
            batch_size=128,
        )
        return gathers_of(settings, trained_count=15_000, item_count=20_000)

    assert gathers("in-batch") == Gathers(1_408)  # 128 users, 11 positions
    assert gathers("catalogue") == Gathers(2_432, at_once=3)  # 1,408 + 1,024
    assert gathers("catalogue", sample_size=100_000) == Gathers(15_000, at_once=3)
    assert gathers("cross-batch") == Gathers(1_408, at_once=3)
    assert gathers("cross-batch", sample_size=4_000) == Gathers(4_000, at_once=3)


def test_a_third_gather_is_budgeted_whole():
    """Beside the rows themselves, 256 on their way from a store for every gather that is not in use yet."""

    class Stored:
        item_count, row_bytes, resident_row_bytes, index_bytes = 20_000, 1_000, 1_000, 0

    def batches(at_once):
        demand = budget.Demand(
            rows_at_once=2_000, gathers_at_once=at_once, counts=np.ones(20_000, np.int64)
        )
        return budget.make_plan(
            Stored, budget.Placement("streamed", max_ram=10**8), torch.device("cpu"), demand
        ).batch_bytes

    assert batches(2) == 2 * 2_000_000 + 256_000
    assert batches(3) == 3 * 2_000_000 + 2 * 256_000


def test_what_was_fetched_is_taken_once():
    fetched = Fetched(torch.arange(3), lambda: ([], torch.ones(3, 0)))
    fetched.gather(torch.arange(3))
    with pytest.raises(
        ValueError, match="expected 3 rows to be taken once, took them a second time"
    ):
        fetched.gather(torch.arange(3))
