"""Two and three real gloo processes against one: the loss, every gradient, the item vectors, and what they agree on."""

from __future__ import annotations

import pickle
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crossan.train.objectives.candidates import rule_of
from crossan.train.objectives.columns import batch_columns
from crossan.train.objectives.shared_step import of_users
from crossan.train.objectives.step import loss_by_position
from crossan.train.ranks.ranks import Ranks
from crossan.train.sequences.padding import PADDING
from crossan.train.settings.objective import ObjectiveSettings
from support.counts import of_full
from support.rank_processes import RankProcesses
from support.selection import beyond
from support.small_models import (
    ITEM_COUNT,
    LENGTH,
    batches,
    loss_and_gradients,
    make_features,
    make_model,
)

SHORT = [[PADDING] * (LENGTH - 1) + [0, 1]]
"""One user, two items: of two ranks one has no user, of three one has no item."""
SILENT = [[PADDING] * LENGTH + [3], [PADDING, 0, 1, 2, 0, 5]]
"""The first user has nothing to predict."""
CHOSEN = {"debias": "negatives", "uniform_negatives": 2, "temperature": 0.5, "label_smoothing": 0.1}
"""What in-batch does beside Eqs. 7-8."""
ALL_SILENT = [[PADDING] * LENGTH + [3], [PADDING] * LENGTH + [0]]


def test_a_copy_in_another_process_is_told_to_end_by_itself():
    ranks = Ranks(1, 3)
    ranks.told_to_end.set()
    copy = pickle.loads(pickle.dumps(ranks))
    assert (copy.number, copy.count, copy.told_to_end.is_set()) == (1, 3, False)


@pytest.fixture(scope="module", params=beyond(1, [2, 3]))
def processes(request):
    started = RankProcesses(request.param)
    yield started
    started.close()


@settings(
    max_examples=of_full(40, 15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    batches().map(torch.Tensor.tolist),
    st.lists(st.integers(3, 5), min_size=1, max_size=4),
    st.sampled_from(["sum", "concat"]),
    st.integers(0, 1000),
    st.booleans(),
    st.sampled_from([{}, CHOSEN]),
)
@example(SHORT, [3, 4], "sum", 0, True, {})
@example(SHORT, [3, 4], "sum", 0, True, CHOSEN)
@example([[PADDING] * (LENGTH - 1) + [2, 2]], [3], "sum", 1, False, {})  # one item in all
@example(SILENT, [3, 4], "concat", 2, True, CHOSEN)
@example(SHORT * 5, [3], "sum", 3, False, {})
@example(ALL_SILENT, [3, 4], "sum", 4, True, CHOSEN)
def test_the_loss_and_all_gradients_are_those_of_one_process(
    processes, sequences, dims, combine, seed, has_ids, chosen
):
    log_popularity = (
        torch.rand(ITEM_COUNT, generator=torch.Generator().manual_seed(seed)).double().add(0.01)
    )
    log_popularity = (log_popularity / log_popularity.sum()).log()
    features = make_features(dims, torch.Generator().manual_seed(seed))
    batch = (features, torch.tensor(sequences), log_popularity)
    rule = rule_of(ObjectiveSettings(**chosen), torch.arange(ITEM_COUNT), log_popularity)
    alone = loss_and_gradients(
        partial(loss_by_position, rule=rule),
        make_model(dims, combine, seed, id_embedding=has_ids),
        *batch,
    )
    answers = processes.ask(
        "loss_and_gradients",
        dims,
        combine,
        seed,
        has_ids,
        chosen,
        sequences,
        log_popularity.tolist(),
    )
    assert all(answer == answers[0] for answer in answers)  # the same bits on every rank
    for one, other in zip(alone, answers[0], strict=True):
        assert torch.allclose(
            one,
            torch.tensor(other, dtype=torch.float64),
            rtol=1e-12,
            atol=1e-12,
        )


@pytest.mark.parametrize("item_count", [1, 1024, 2500, 3 * 1024])
def test_item_vectors_are_bit_for_bit_those_of_one_process(processes, item_count):
    assert all(processes.ask("encoded_alike", item_count))


def test_one_rank_told_to_end_stops_the_evaluation_of_all(processes):
    assert all(processes.ask("stopped", 1))
    assert not any(processes.ask("stopped", None))


def test_ranks_know_how_many_share_their_machine(processes):
    count = len(processes.processes)
    assert processes.ask("neighbours") == [count] * count
    assert Ranks().on_this_machine() == 1


def test_ranks_agree_on_the_highest_claim_of_each_kind(processes):
    last = len(processes.processes) - 1
    assert processes.ask("agreed") == [(last, 10)] * (last + 1)


def test_what_the_first_rank_makes_all_have(processes):
    assert processes.ask("from_first", "é" * 300) == [[["é" * 300, 0]]] * len(processes.processes)
    expected = ["UsageError", 2, "rank 0 does not\n  try another"]
    assert processes.ask("failure_of_first") == [expected] * len(processes.processes)


def test_ranks_that_are_not_alike_name_what_differs_on_all_of_them(processes):
    assert processes.ask("difference", None) == [None] * len(processes.processes)
    for exit_code, message in processes.ask("difference", 1):
        assert exit_code == 5
        assert "\n  torch: two on rank 0, three on rank 1\n" in message
        assert "seed" not in message


def test_dropout_is_drawn_anew_by_every_rank_at_every_step(processes):
    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    drawn = [processes.ask("drawn", *place) for place in places]
    assert drawn == [processes.ask("drawn", *place) for place in places]
    assert len({tuple(one) for answers in drawn for one in answers}) == len(places) * len(
        processes.processes
    )


def test_one_process_communicates_with_nobody(processes):
    assert processes.ask("alone") == [
        [(3,), number, True] for number in range(len(processes.processes))
    ]


def test_a_rank_that_is_gone_is_an_error_of_ours_at_once():
    two = RankProcesses(2)
    two.ask("agreed")
    two.processes[1].kill()
    two.processes[1].join()
    name, exit_code, message = two.ask_first("left_alone")
    two.processes[0].kill()
    assert (name, exit_code) == ("RankLostError", 6)
    assert "another rank of this training cannot be reached: " in message
    assert "--resume goes on from the last checkpoint" in message


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_lie_side_by_side_and_are_even(total, count):
    parts = [Ranks(number, count).part(total) for number in range(count)]
    assert [place for part in parts for place in range(total)[part]] == list(range(total))
    lengths = {part.stop - part.start for part in parts}
    assert max(lengths) - min(lengths) <= 1


@given(batches(), st.data())
def test_the_predictions_of_some_users_are_theirs(sequences, data):
    columns = batch_columns(sequences)
    in_columns = torch.searchsorted(columns.items, sequences)
    in_columns[sequences == PADDING] = PADDING
    start = data.draw(st.integers(0, len(sequences)))
    stop = data.draw(st.integers(start, len(sequences)))
    found = of_users(columns, slice(start, stop))
    expected = [
        (user - start, place, *in_columns[user, place : place + 2].tolist())
        for user in range(start, stop)
        for place in range(LENGTH)
        if PADDING not in in_columns[user, place : place + 2]
    ]
    assert [(n // LENGTH, n % LENGTH) for n in found.packing.places.tolist()] == [
        one[:2] for one in expected
    ]
    assert found.packing.is_real.shape == (stop - start, LENGTH)
    assert found.inputs.tolist() == [one[2] for one in expected]
    assert found.positive.tolist() == [one[3] for one in expected]
    assert torch.equal(found.user_items, in_columns[[start + user for user, *_ in expected]])
    assert torch.equal(found.items, columns.items)
