"""A run under ``data.split=fixed``, on files of MMRec's shape, from the import to the table."""

import json

import numpy as np
import pytest

from crossan.cache_schema.errors import ConfigError, IncompatibleError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets import keep_sequences, open_dataset
from crossan.common.datasets.splitting import TEST, TRAINING
from crossan.common.split import Split
from crossan.common.stores.interchange.importers import ImportTarget, import_features
from crossan.train.cli import evaluate, recommend, train
from crossan.train.comparison.cli import compare
from crossan.train.record.user_ranks import read_user_ranks
from crossan.train.report.items import items_section
from crossan.train.runs.opening import open_run
from support.commands import QUICK, attempt, run, train_in, training
from support.fabricated import TOPICS, write_rows
from support.imports import imported
from support.imports import run as run_data

ITEMS = [f"i{topic}{item}" for topic in range(TOPICS) for item in range(10)]
FIXED = ("--set", "data.split=fixed")
SETTINGS = (*QUICK, "max_epochs=3", "model.dropout=0", "model.top_k=1")


def make_rows():
    """Return 40 users of 6 to 21 items, each half of one topic, at times that tell nothing."""
    random, rows = np.random.default_rng(8), []
    for user in range(40):
        items = random.permutation(ITEMS)[: 6 + user % 16].tolist()
        rows += [(f"u{user:02d}", item, int(time)) for time, item in enumerate(items)]
    return rows


def write_inter(folder, rows):
    """Write MMRec's files of rows with labels, whose numbers are not in the order of the ids."""
    folder.mkdir()
    users, items = ([*dict.fromkeys(row[n] for row in rows)][::-1] for n in (0, 1))
    for path, (header, ids) in {
        "u_id_mapping.csv": ("user_id\tuserID", users), "i_id_mapping.csv": ("asin\titemID", items),
    }.items():  # fmt: skip
        text = "".join(f"{name}\t{number}\n" for number, name in enumerate(ids))
        (folder / path).write_text(f"{header}\n{text}")
    lines = (f"{users.index(user)}\t{items.index(item)}\t5.0\t{time + 1_400_000_000}\t{label}\n"
             for user, item, time, label in rows)  # fmt: skip
    topics = [[float(name[1] == str(topic)) for topic in range(TOPICS)] for name in items]
    np.save(folder / "text_feat.npy", np.array(topics, np.float32))
    (folder / "toys.inter").write_text(
        "userID\titemID\trating\ttimestamp\tx_label\n" + "".join(lines)
    )


def labelled(rows):
    """Return rows with the labels of the last two, but for users with none or several of a part."""
    labels, own = [], {}
    for user, *_ in rows:
        own[user] = own.get(user, 0) + 1
    seen = dict.fromkeys(own, 0)
    for user, *_ in rows:
        seen[user] += 1
        number, from_end = int(user[1:]), own[user] - seen[user]
        label = {0: 2, 1: 1}.get(from_end, 0)
        if number % 8 == 1 and label == 1:
            label = 0  # nothing to validate
        if number % 8 == 2 and label == 2:
            label = 0  # nothing to test
        if number % 8 == 3 and from_end < 4:
            label = 2  # several to test, none to validate
        if number == 39:
            label = 2 if from_end else 1  # nothing trained
        labels.append(label)
    return [(*row, label) for row, label in zip(rows, labels, strict=True)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    write_inter(folder / "mmrec", labelled(make_rows()))
    imported(folder / "mmrec", folder / "d", "--name", "small")
    target = ImportTarget(cache=folder / "c", dataset="small", modality=Modality.TEXT)
    import_features(folder / "mmrec", "mmrec", target)
    run_train(folder, *FIXED, out="r")
    return folder


def run_train(place, *more, out):
    return json.loads(train_in(place, SETTINGS, *more, out=out).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def kept(place):
    return keep_sequences(open_dataset(place / "d").interactions(), split=Split("fixed"))


def test_figures_are_means_over_the_users_with_a_target(place, kept):
    result = json.loads((place / "r/result.json").read_text())
    assert (result["split"], result["split_seed"], result["users"]) == ("fixed", None, 39)
    users = {"valid": 39 - 5 - 5, "test": 39 - 5}  # see `labelled`: of 40, user 39 is left out
    for part, count in users.items():
        ranks = read_user_ranks(place / "r", part)
        assert len(ranks.user_ids) == count
        assert len(ranks.ranks) == result["targets"][part]
        for k in (5, 10, 20, 50):
            assert ranks.hits(k).mean() == pytest.approx(result[part][f"hr@{k}"])
            assert ranks.ndcg(k).mean() == pytest.approx(result[part][f"ndcg@{k}"])
    assert result["targets"]["test"] == int((kept.parts == TEST).sum())


def test_popularity_is_ranked_as_by_hand(place, kept):
    """Every item but those trained on is a candidate, and users count alike."""
    result = run_train(place, *FIXED, "--model", "popularity", out="popularity")
    counts = np.bincount(kept.training_items, minlength=len(kept.item_ids))
    assert len(counts) == len({item for _, item, _ in make_rows()})
    recalls = []
    for user in range(len(kept.user_ids)):
        own = slice(kept.offsets[user], kept.offsets[user + 1])
        items, parts = kept.items[own], kept.parts[own]
        targets = set(items[parts == TEST].tolist())
        shown = [row for row in range(len(counts)) if row not in items[parts == TRAINING]]
        shown.sort(key=lambda row: (-counts[row], row in targets))
        if targets:
            recalls.append(sum(row in targets for row in shown[:10]) / len(targets))
    assert result["test"]["hr@10"] == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("model", ["sasrec", "vbpr", "item-knn", "frozen"])
def test_it_is_the_split_that_an_export_carries(place, tmp_path, model):
    """A random split, written for MMRec and read again as fixed, is the same data: same figures."""
    write_rows(tmp_path / "d", make_rows())
    (tmp_path / "c").symlink_to(place / "c")
    random = ("--set", "data.split=mmrec-random", "--model", model)
    drawn = run_train(tmp_path, *random, out="drawn")
    exported = tmp_path / "toys"
    run_data("export", tmp_path / "d", "--format", "mmrec", "--split", "mmrec-random",
             "--out", exported)  # fmt: skip
    (tmp_path / "again").mkdir()
    imported(exported, tmp_path / "again/d", "--name", "small")
    (tmp_path / "again/c").symlink_to(place / "c")
    fixed = run_train(tmp_path / "again", *FIXED, "--model", model, out="fixed")
    for name in ("valid", "test", "cold_test", "popularity", "targets", "users", "items", "slices"):
        assert fixed[name] == drawn[name]
    with pytest.raises(IncompatibleError, match="split: mmrec-random and fixed"):
        run(compare, tmp_path / "drawn", tmp_path / "again/fixed")


def test_it_is_evaluated_again_recommended_and_compared(place):
    result = json.loads((place / "r/result.json").read_text())
    again = json.loads(
        run(evaluate, place / "r", "--device", "cpu", "--json").stdout.splitlines()[-1]
    )
    for name in ("valid", "test", "slices", "targets", "split", "split_seed"):
        assert again[name] == result[name]
    shown = run(evaluate, place / "r", "--device", "cpu").stdout
    assert "Recall@10" in shown
    assert f"split fixed: {result['targets']['test']} test targets of 39 users" in shown
    listed = json.loads(
        run(
            recommend, place / "r", "--user", "u33", "--top", "5", "--device", "cpu", "--json"
        ).stdout
    )
    listed = listed["items"] if isinstance(listed, dict) else listed
    assert not {entry["item_id"] for entry in listed} & {
        item for user, item, _ in make_rows() if user == "u33"
    }
    run_train(place, *FIXED, "--seed", "5", out="other-seed")
    table = run(compare, place / "r", place / "other-seed").stdout
    assert "split fixed" in table


def test_a_page_shows_the_users_who_were_ranked(place):
    opened = open_run(place / "r", device="cpu")
    section = items_section(opened, read_user_ranks(place / "r", "test"), "ours")
    users = [block for block in section.blocks if block.title.startswith("User")]
    assert len(users) == 3
    owners = np.repeat(opened.kept.user_ids, np.diff(opened.kept.offsets))
    for cards in users:
        history = next(shelf for shelf in cards.shelves if shelf.label.startswith("History"))
        shown = {item.item_id for item in history.items}
        trained = opened.kept.parts == TRAINING
        assert any(
            shown
            <= set(opened.kept.item_ids[opened.kept.items[(owners == user) & trained]].tolist())
            for user in read_user_ranks(place / "r", "test").user_ids
        )


def test_another_split_is_no_resume(place):
    with pytest.raises(UsageError, match=r"data\.split"):
        run_train(place, "--resume", out="r")


def test_settings_that_the_split_does_not_read_are_refused(place):
    for setting in ("data.min_items=6", "data.split_seed=4"):
        refused = attempt(train, *training(place, SETTINGS, *FIXED, "--set", setting, out="x"))
        assert isinstance(refused.exception, ConfigError)
        assert f"expected no {setting.partition('=')[0].partition('.')[2]}" in str(
            refused.exception
        )
    assert not (place / "x").exists()


def test_a_dataset_without_its_own_split_is_refused(tmp_path):
    write_rows(tmp_path / "d", make_rows())
    with pytest.raises(UsageError, match="expected a dataset that carries its own split"):
        run_train(tmp_path, *FIXED, "--model", "popularity", out="r")


def test_labels_that_have_changed_are_no_data_to_judge_a_run_by(place, tmp_path):
    rows = [(user, item, time, {1: 2, 2: 1}.get(label, label))
            for user, item, time, label in labelled(make_rows())]  # fmt: skip
    write_inter(tmp_path / "mmrec", rows)
    imported(tmp_path / "mmrec", tmp_path / "d", "--name", "small")
    (place / "d").rename(place / "kept-d")
    try:
        (tmp_path / "d").rename(place / "d")
        with pytest.raises(
            IncompatibleError, match=r"data\.split=fixed reads anew what is held out"
        ):
            run(evaluate, place / "r", "--device", "cpu", "--out", tmp_path / "again")
    finally:
        (place / "d").rename(tmp_path / "d")
        (place / "kept-d").rename(place / "d")
