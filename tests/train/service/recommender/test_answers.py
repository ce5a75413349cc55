"""Answers are those of ``crossan recommend``, on the data as they are now."""

import shutil

import numpy as np
import pytest
import torch

from crossan.cache_schema.errors import CrossanError, IncompatibleError, UsageError
from crossan.train.runs.opening import open_run
from crossan.train.runs.recommend import history_of_user, recommend_items
from crossan.train.service.recommender.opening import open_answering
from support.commands import train_quickly
from support.fabricated import (
    PER_TOPIC,
    TOPICS,
    append_like,
    make_sequences,
    write_rows,
    write_small,
)

KINDS = ("crossan", "sasrec", "popularity", "markov", "item-knn", "title-knn", "hybrid", "vbpr")
ITEMS = [f"i{topic}{item}" for topic in range(TOPICS) for item in range(PER_TOPIC)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = write_small(tmp_path_factory.mktemp("answers"))
    for kind in KINDS:
        train_quickly(place, "--model", kind, out=kind, epochs=1)
    return place


@pytest.fixture
def place(trained, tmp_path):
    """The same in a folder that a test may change."""
    place = shutil.copytree(trained, tmp_path / "p")
    for name in ("config.toml", "env.json", "cache.lock.json"):
        for path in place.glob(f"*/{name}"):
            path.write_text(path.read_text().replace(str(trained), str(place)))
    return place


def ask(answering, top=10, mask_history="all", **who):
    query, unknown = answering.query({"top": top, "mask_history": mask_history, **who})
    return answering.answers([query])[0], unknown


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_answers_as_the_command_does(trained, kind):
    run, answering = open_run(trained / kind, device="cpu"), open_answering(trained / kind, "")
    users = run.kept.user_ids[::29].tolist()
    expected = {user: recommend_items(run, history_of_user(run, user), 15, user) for user in users}
    for user in users:
        items, _ = ask(answering, 15, user=user)
        assert [item["item_id"] for item in items] == [one["item_id"] for one in expected[user]]
        assert [item["title"] for item in items] == [one["title"] for one in expected[user]]
        assert [item["score"] for item in items] == pytest.approx(
            [one["score"] for one in expected[user]], abs=1e-5
        )
    # Together with others, as eight clients at once are answered.
    queries = [
        answering.query({"user": user, "top": 15, "mask_history": "all"})[0] for user in users
    ]
    for user, items in zip(users, answering.answers(queries), strict=True):
        assert [item["score"] for item in items] == pytest.approx(
            [item["score"] for item in expected[user]], abs=1e-5
        )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_new_items_that_the_command_has(trained, kind):
    """Of each topic the last three items are in nobody's training part."""
    run, answering = open_run(trained / kind, device="cpu"), open_answering(trained / kind, "")
    users, changed = run.kept.user_ids[::29].tolist(), 0
    wanted = [(user, new) for user in users for new in (0, 1, 4, 12)]
    queries = [
        answering.query({"user": user, "top": 12, "new": new, "mask_history": "all"})[0]
        for user, new in wanted
    ]
    for (user, new), items in zip(wanted, answering.answers(queries), strict=True):
        expected = recommend_items(run, history_of_user(run, user), 12, user, new)
        assert [item["item_id"] for item in items] == [one["item_id"] for one in expected]
        assert [item["score"] for item in items] == pytest.approx(
            [one["score"] for one in expected], abs=1e-5
        )
        # Users have had up to two of the twelve.
        assert sum(item["item_id"][-1] in "789" for item in items) >= min(new, 10)
        changed += [item["item_id"] for item in items] != [
            one["item_id"] for one in recommend_items(run, history_of_user(run, user), 12, user)
        ]
    assert changed


def test_an_item_that_came_after_the_training_is_a_new_one(place):
    shutil.rmtree(place / "d")
    late = [(f"u{user:03d}", "i0z", 99) for user in range(40)]
    write_rows(place / "d", [*make_sequences(), *late], items=[*ITEMS, "i0z"])
    append_like(place / "c", "i0z", "i03")
    both = [open_answering(place / kind, "") for kind in ("markov", "sasrec")]
    for answering in both:
        new = answering.kept.item_ids[answering.is_new.numpy()].tolist()
        assert new == [item for item in sorted([*ITEMS, "i0z"]) if item[-1] in "789z"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vbpr"])
def test_a_history_is_read_as_the_command_reads_it(trained, kind):
    run, answering = open_run(trained / kind, device="cpu"), open_answering(trained / kind, "")
    history = ["i03", "i11", "i12", "i25"]
    rows = np.searchsorted(run.kept.item_ids, history)
    items, unknown = ask(answering, 40, history=history)
    assert unknown == []
    assert [item["item_id"] for item in items] == [
        item["item_id"] for item in recommend_items(run, rows, 40)
    ]
    assert not {item["item_id"] for item in items} & set(history)
    everything, _ = ask(answering, 1000, mask_history="none", history=history)
    assert len(everything) == 40 or kind not in ("crossan", "sasrec")
    assert {item["item_id"] for item in everything} >= set(history)
    assert everything[0]["title"] == f"title of {everything[0]['item_id']}"


def test_equal_scores_stand_in_the_order_of_their_ids(trained):
    items, _ = ask(open_answering(trained / "popularity", ""), 40, history=["i00"])
    order = [(-item["score"], item["item_id"]) for item in items]
    assert order == sorted(order)
    assert len({score for score, _ in order}) < len(order)


def test_unknown_items_are_named_and_the_others_are_read(trained):
    answering = open_answering(trained / "crossan", "")
    with_unknown, unknown = ask(answering, history=["nowhere", "i03", "i9\n9"])
    assert unknown == ["nowhere", "i9\n9"]
    assert with_unknown == ask(answering, history=["i03"])[0]
    with pytest.raises(UsageError, match="knows, found i3; did you mean 'i39'"):
        ask(answering, history=["i3"])
    with pytest.raises(UsageError, match="found none named"):
        ask(answering, history=[])
    with pytest.raises(UsageError, match="user nobody: not among the 150 users"):
        ask(answering, user="nobody")
    with pytest.raises(UsageError, match="not among the 150 users"):
        ask(answering, user="u" * 100_000)


def test_a_model_with_a_vector_for_every_user_wants_a_user(trained):
    with pytest.raises(UsageError, match="expected a user, as vbpr has a vector for every user"):
        ask(open_answering(trained / "vbpr", ""), history=["i03"])


def test_an_item_is_recommended_from_the_moment_its_features_are_there(place):
    """Nobody has had it, and the run was trained before it came."""
    rows = make_sequences()
    near = "i0z"
    write_rows(place / "d2", rows, items=[*ITEMS, near])
    (place / "d2").rename(place / "d-new")
    shutil.rmtree(place / "d")
    (place / "d-new").rename(place / "d")
    before = open_answering(place / "crossan", "")
    assert near not in before.item_rows
    append_like(place / "c", near, "i03")
    after = open_answering(place / "crossan", "")
    assert near in after.item_rows
    items, _ = ask(after, 41, mask_history="none", history=["i03"])
    scores = {item["item_id"]: item["score"] for item in items}
    # It has the hidden states of another item and so its score, and comes right behind it.
    assert scores[near] == pytest.approx(scores["i03"], abs=1e-5)
    assert open_answering(place / "sasrec", "").item_rows.keys() == before.item_rows.keys()


def test_a_new_interaction_is_history_at_once_and_a_short_history_is_read_too(place):
    rows = [*make_sequences(), ("u001", "i39", 99), ("new", "i05", 1), ("new", "i06", 2)]
    shutil.rmtree(place / "d")
    write_rows(place / "d", rows)
    answering = open_answering(place / "crossan", "")
    items, _ = ask(answering, 40, user="u001")
    assert "i39" not in {item["item_id"] for item in items}
    short, _ = ask(answering, 40, user="new")
    assert short == ask(answering, 40, history=["i05", "i06"])[0]
    with pytest.raises(
        IncompatibleError, match="expected the data that it was trained on, as vbpr"
    ):
        open_answering(place / "vbpr", "")


def test_an_item_that_no_store_serves_yet_is_left_out_of_histories(place):
    rows = [*make_sequences(), ("u001", "fresh", 99)]
    shutil.rmtree(place / "d")
    write_rows(place / "d", rows, items=[*ITEMS, "fresh"])
    with pytest.raises(CrossanError, match="never extracted"):
        open_run(place / "crossan", device="cpu")
    answering = open_answering(place / "crossan", "")
    assert "fresh" not in answering.item_rows
    old = [item for user, item, _ in make_sequences() if user == "u001"]
    assert ask(answering, 40, user="u001") == ask(answering, 40, history=old)


def test_all_that_a_user_ever_had_is_masked_and_the_last_of_it_is_read(place):
    """Also what lies before the items that a run keeps of each user."""
    long = [
        ("u001", f"i{topic}{item}", -100 + 10 * topic + item)
        for topic in range(2)
        for item in range(10)
    ]
    shutil.rmtree(place / "d")
    write_rows(place / "d", [*long, *make_sequences()])
    answering = open_answering(place / "crossan", "")
    had = {item for _, item, _ in long} | {i for u, i, _ in make_sequences() if u == "u001"}
    items, _ = ask(answering, 40, user="u001")
    assert {item["item_id"] for item in items} == set(ITEMS) - had
    last = [item for user, item, _ in [*long, *make_sequences()] if user == "u001"][-13:]
    unmasked, _ = ask(answering, 40, mask_history="none", user="u001")
    assert unmasked == ask(answering, 40, mask_history="none", history=last)[0]


def test_broken_vectors_are_refused(place, monkeypatch):
    from crossan.train.service.recommender import ranking

    monkeypatch.setattr(ranking, "encode_items", lambda *_: torch.tensor([[float("nan")]]))
    with pytest.raises(CrossanError, match="expected finite item vectors"):
        open_answering(place / "crossan", "")
