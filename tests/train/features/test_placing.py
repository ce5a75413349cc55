"""A residence that does not fit after all: `auto` goes on to the next one, a named one ends with 6."""

import pytest
import torch

from crossan.cache_schema.errors import ResourceError
from crossan.train.features import budget, placing
from crossan.train.features.budget import Demand, Placement
from crossan.train.features.placing import place_features

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand more")
GIB = 1 << 30


class Stored:
    item_count, index_bytes = 100, 8
    row_bytes = resident_row_bytes = 64


@pytest.fixture
def free(monkeypatch):
    """An accelerator with room for everything, as far as anybody can tell."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (GIB, GIB))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(budget, "available_ram", lambda: GIB)


def place(monkeypatch, residence, device, *errors, **limits):
    """Place features whose loading raises these errors in turn, then gives the residence."""
    tried, left = [], list(errors)

    def load(stored, plan, device, demand):
        tried.append(plan.residence)
        if left:
            raise left.pop(0)
        return plan.residence

    monkeypatch.setattr(placing, "_load", load)
    demand = Demand(rows_at_once=10)
    try:
        return tried, place_features(
            Stored, Placement(residence, **limits), torch.device(device), demand
        )
    except ResourceError as error:
        return tried, error


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize(
    ("device", "errors", "expected"),
    [
        ("cuda", [], ["device"]),
        ("cuda", [CUDA], ["device", "host"]),
        ("cuda", [CUDA, MemoryError()], ["device", "host", "streamed"]),
        ("cpu", [MemoryError("Unable to allocate")], ["device", "streamed"]),
    ],
)
def test_auto_takes_the_next_residence(monkeypatch, capsys, device, errors, expected):
    assert place(monkeypatch, "auto", device, *errors) == (expected, expected[-1])
    said = capsys.readouterr().err
    for failed, following, error in zip(expected[:-1], expected[1:], errors, strict=True):
        reason = (str(error).splitlines() or ["MemoryError"])[0]
        assert (
            f"features: residence {failed} does not fit after all ({reason}); trying {following}"
            in said
        )


@pytest.mark.usefixtures("free")
def test_a_residence_that_does_not_fit_by_the_plan_is_passed_over(monkeypatch):
    # 100 rows of 64 bytes, and two batches of 10 beside rows on their way, do not fit in 9,000.
    limits = {"max_ram": 9_000}
    assert place(monkeypatch, "auto", "cuda", CUDA, **limits)[0] == ["device", "streamed"]


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize("residence", ["device", "host", "streamed"])
def test_a_residence_that_was_named_is_not_replaced(monkeypatch, residence):
    tried, error = place(monkeypatch, residence, "cuda", CUDA)
    assert tried == [residence]
    assert error.exit_code == 6
    assert error.message == (
        f"features, residence {residence}: memory ran out while they were loaded:"
        " CUDA out of memory. Tried to allocate 2.00 GiB."
    )
    assert ("--residence auto" in error.remedy) == (residence != "streamed")


@pytest.mark.usefixtures("free")
def test_where_nothing_fits_it_says_so(monkeypatch):
    tried, error = place(monkeypatch, "auto", "cuda", CUDA, CUDA, CUDA)
    assert tried == ["device", "host", "streamed"]
    assert "residence streamed" in error.message
    assert "--max-ram SIZE" in error.remedy


@pytest.mark.usefixtures("free")
def test_another_error_is_raised_as_it_is(monkeypatch):
    with pytest.raises(RuntimeError, match="odd"):
        place(monkeypatch, "auto", "cuda", RuntimeError("odd"))
