"""MMRec's files become a dataset with their own split, row by row, or are refused by row."""

import json

import numpy as np
import pytest

from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.datasets import keep_sequences, open_dataset
from crossan.common.datasets.folder import write_dataset
from crossan.common.datasets.splitting import TEST, TRAINING, VALIDATION
from crossan.common.split import Split
from support.imports import imported, rows_of, run

FIXED = Split("fixed")
HEADER = "userID\titemID\trating\ttimestamp\tx_label\n"
BEGIN = 1_328_140_800
ROWS = [
    # user 0 has two test items, user 1 none of validation, user 2 none of test, user 3 no training
    (0, 0, 5.0, 0, 0), (0, 1, 4.0, 1, 0), (0, 2, 1.0, 2, 1), (0, 3, 5.0, 3, 2), (0, 4, 5.0, 0, 2),
    (1, 0, 2.0, 5, 0), (1, 5, 3.0, 6, 2),
    (2, 1, 3.0, 7, 0), (2, 0, 3.0, 8, 1),
    (3, 6, 5.0, 9, 1), (3, 0, 5.0, 9, 2),
]  # fmt: skip


def inter(rows=ROWS, header=HEADER):
    lines = (f"{user}\t{item}\t{rating}\t{BEGIN + day}\t{label}\n"
             for user, item, rating, day, label in rows)  # fmt: skip
    return header + "".join(lines)


def folder_of(path, text=None, **files):
    """Write ``baby.inter`` and other files, whose names are given without ``.csv``."""
    path.mkdir()
    (path / "baby.inter").write_bytes((inter() if text is None else text).encode())
    for name, content in files.items():
        (path / f"{name}.csv").write_text(content)
    return path


MAPPINGS = {
    "u_id_mapping": "user_id\tuserID\nA2\t0\nA0\t1\nA3\t2\nA1\t3\n",
    "i_id_mapping": "asin\titemID\n" + "".join(f"B0{9 - n}\t{n}\n" for n in range(8)),
}


def kept_of(folder):
    return keep_sequences(open_dataset(folder).interactions(), split=FIXED)


def test_the_split_column_is_the_dataset_s_own_split(tmp_path):
    report, rows, items = imported(folder_of(tmp_path / "m"), tmp_path / "d")
    assert rows[:3] == [
        ("0", "0", 1000 * BEGIN, 0), ("0", "1", 1000 * (BEGIN + 1), 0),
        ("0", "2", 1000 * (BEGIN + 2), 1),
    ]  # fmt: skip
    assert [row[3] for row in rows] == [label for *_, label in ROWS]
    assert open_dataset(tmp_path / "d").parts == {"train": 4, "valid": 3, "test": 4}
    (table,) = report["tables"]
    assert table["columns"]["part"] == "x_label"
    assert table["ignored"] == ["rating"]
    assert table["notes"] == [
        "a split of its own (4 train, 3 valid, 4 test), for data.split=fixed",
        "users without an interaction in train: 1 ('3')",
        "users without an interaction in valid: 1 ('1')",
        "users without an interaction in test: 1 ('2')",
    ]
    assert [item[0] for item in items] == list("0123456")


def test_each_part_is_what_the_files_say(tmp_path):
    imported(folder_of(tmp_path / "m"), tmp_path / "d")
    kept = kept_of(tmp_path / "d")
    # User 3 is left out: MMRec judges nobody without training either. Its item 6 stays a candidate.
    assert kept.user_ids.tolist() == list("012")
    assert kept.item_ids.tolist() == list("0123456")
    # Of equal times the lower id comes first: items 0 and 4 of user 0.
    assert [kept.sequence(user).tolist() for user in range(3)] == [[0, 4, 1, 2, 3], [0, 5], [1, 0]]
    assert kept.parts.tolist() == [0, 2, 0, 1, 2, 0, 2, 0, 1]
    assert [history.tolist() for history in kept.test_histories()] == [[0, 1], [0], [1]]
    assert (kept.test_users.tolist(), kept.test_targets.tolist()) == ([0, 0, 1], [4, 3, 5])
    seen = kept.without_test()
    assert (seen.validation_users.tolist(), seen.validation_targets.tolist()) == ([0, 2], [2, 0])
    assert [part.tolist() for part in seen.training_parts()] == [[0, 1], [0], [1]]


def test_other_splits_of_the_same_dataset_take_no_notice_of_it(tmp_path):
    imported(folder_of(tmp_path / "m"), tmp_path / "d")
    interactions = open_dataset(tmp_path / "d").interactions()
    by_time = keep_sequences(interactions, split=Split())
    assert by_time.user_ids.tolist() == ["0"]
    assert by_time.parts.tolist() == [TRAINING] * 3 + [VALIDATION, TEST]


def test_numbers_become_the_ids_that_they_stand_for(tmp_path):
    source = folder_of(
        tmp_path / "m", **MAPPINGS,
        **{"meta-baby": 'itemID,asin,title,description\n0,B09,Bib,"a, long text"\n6,B03,"",x\n'
                        "7,B02,Never bought,x\n"},
    )  # fmt: skip
    report, rows, items = imported(source, tmp_path / "d")
    assert [row[:2] for row in rows[5:7]] == [("A0", "B09"), ("A0", "B04")]
    assert dict(item[:2] for item in items)["B09"] == "Bib"
    assert items[2][:2] == ("B02", "Never bought")  # cold: nobody had it
    assert report["tables"][1]["columns"] == {"item_id": "itemID", "title": "title"}
    assert report["unread"]["count"] == 0
    assert kept_of(tmp_path / "d").user_ids.tolist() == ["A0", "A2", "A3"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\t0\n", "\t0.0\n").replace("\t1\n", "\t1.0\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("x_label", "x_label\tsession").replace("\n", "\t\n")
        .replace("session\t\n", "session\n"),
    ],
    ids=["crlf", "byte order mark", "labels of floats", "no last line end", "an unknown column"],
)  # fmt: skip
def test_other_ways_to_write_the_same_are_read_alike(tmp_path, change):
    _, expected, _ = imported(folder_of(tmp_path / "m"), tmp_path / "d")
    report, rows, _ = imported(folder_of(tmp_path / "n", change(inter())), tmp_path / "e")
    assert rows == expected
    assert set(report["tables"][0]["ignored"]) <= {"rating", "session"}


def test_ids_may_have_any_number_of_digits(tmp_path):
    big = 10**30
    rows = [(big + user, big * item, 5.0, item, label)
            for user in range(2) for item, label in enumerate([0, 0, 1, 2])]  # fmt: skip
    imported(folder_of(tmp_path / "m", inter(rows)), tmp_path / "d")
    kept = kept_of(tmp_path / "d")
    assert kept.user_ids.tolist() == [str(big), str(big + 1)]
    assert kept.item_ids.tolist()[-1] == str(3 * big)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (inter([*ROWS, (4, 0, 1.0, 1, 3)]),
         r"column x_label, row 12: expected a label 0 \(train\), .* found .3. \(1 such rows\)"),
        (inter([*ROWS, (4, 0, 1.0, 1, "")]), "column x_label, row 12: .* found none"),
        (inter([*ROWS, (4, 0, 1.0, 1, "train")]), "column x_label, row 12: .* found 'train'"),
        (inter([*ROWS, (4, 0, 1.0, 1, -1)]), "column x_label, row 12: .* found '-1'"),
        (inter([*ROWS, (4, "", 1.0, 1, 0)]), "column itemID, row 12: expected an id, found null"),
        ("", "line 1: expected a table with a header, found nothing"),
        (inter() + "1\t2\n", "line 13"),
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        imported(folder_of(tmp_path / "m", text), tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("missing", ["userID", "itemID"])
def test_a_column_that_is_missing_is_named(tmp_path, missing):
    with pytest.raises(UsageError, match=r"baby\.inter: expected a column for .*_id"):
        imported(folder_of(tmp_path / "m", inter().replace(missing, "other")), tmp_path / "d")


def test_without_labels_there_is_no_split_and_it_is_said(tmp_path):
    source = folder_of(tmp_path / "m", inter().replace("x_label", "fold"))
    report, rows, _ = imported(source, tmp_path / "d")
    assert report["tables"][0]["notes"] == ["no x_label, so no split of its own"]
    assert len(rows[0]) == 3
    with pytest.raises(UsageError, match="expected a dataset that carries its own split"):
        kept_of(tmp_path / "d")
    imported(source, tmp_path / "e", "--column", "part=fold")
    assert open_dataset(tmp_path / "e").parts == {"train": 4, "valid": 3, "test": 4}


def test_a_pair_that_comes_twice_is_said_by_row_and_is_one_target(tmp_path):
    again = [(0, 0, 5.0, 9, 2), (0, 3, 1.0, 9, 2)]
    report, _, _ = imported(folder_of(tmp_path / "m", inter([*ROWS, *again])), tmp_path / "d")
    assert report["tables"][0]["notes"][-1] == (
        "rows with the user and item of an earlier row: 2 (row 12 as row 1, user '0', item '0', in"
        " test and in train; row 13 as row 4, user '0', item '3', both in test)"
    )
    kept = kept_of(tmp_path / "d")
    # What is trained on and held out too is a target that the mask of the history rules out.
    assert kept.item_ids[kept.test_targets].tolist() == ["4", "3", "0", "5"]
    checked = json.loads(run("check", tmp_path / "d", "--split", "fixed", "--json"))
    assert checked["unwinnable_test_targets"] == 1
    problems = {problem["code"]: problem for problem in checked["problems"]}
    assert problems["repeated-pair"]["count"] == 2


@pytest.mark.parametrize(
    ("mapping", "text", "message"),
    [
        ("i_id_mapping", "asin\titemID\nB0\t0\nB1\t1\n",
         r"column itemID, row 3: expected a number that i_id_mapping.csv lists, found '2'"),
        ("u_id_mapping", "user_id\tuserID\nA\t0\nA\t1\n", "column user_id, row 2: expected each"),
        ("i_id_mapping", "asin\titemID\nB0\t0\nB1\t0\n", "column itemID, row 2: expected each"),
        ("u_id_mapping", "user_id\tnumber\nA\t0\n", "the column userID, found 'user_id,number'"),
    ],
)  # fmt: skip
def test_a_mapping_that_does_not_fit_is_named(tmp_path, mapping, text, message):
    with pytest.raises(DataError, match=message):
        imported(folder_of(tmp_path / "m", **{mapping: text}), tmp_path / "d")


@pytest.mark.parametrize(("part", "label"), [("train", 0), ("valid", 1), ("test", 2)])
def test_a_split_without_a_part_is_refused_where_it_is_used(tmp_path, part, label):
    rows = [row for row in ROWS if row[4] != label]
    imported(folder_of(tmp_path / "m", inter(rows)), tmp_path / "d")
    with pytest.raises(DataError, match=f"found none of {part} among"):
        kept_of(tmp_path / "d")


def test_the_check_says_what_is_unusual(tmp_path):
    imported(folder_of(tmp_path / "m"), tmp_path / "d")
    report = json.loads(run("check", tmp_path / "d", "--split", "fixed", "--json"))
    assert report["parts"] == {"train": 4, "valid": 3, "test": 4}
    kept = report["protocol"]
    assert (kept["split"], kept["split_seed"]) == ("fixed", None)
    assert (kept["users"], kept["items"], kept["test_targets"]) == (3, 7, 3)
    problems = {one["code"]: one["examples"] for one in report["problems"]}
    assert [problems[f"no-{part}"] for part in ("train", "valid", "test")] == [["3"], ["1"], ["2"]]
    assert "short-user" not in problems
    shown = run("check", tmp_path / "d", "--split", "fixed")
    assert "its own split  4 train, 3 valid, 4 test" in shown
    assert "(all of users with an interaction in training)" in shown


def test_titles_are_added_and_interactions_are_not(tmp_path):
    imported(folder_of(tmp_path / "m"), tmp_path / "d")
    before = rows_of(tmp_path / "d")[0]
    (tmp_path / "titles.csv").write_text("item_id,title\n0,Bib\n9,New\n")
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n0,9,1328140900\n")
    run("update", tmp_path / "d", "--items", tmp_path / "titles.csv")
    rows, items = rows_of(tmp_path / "d")
    assert rows == before
    assert dict(item[:2] for item in items)["0"] == "Bib"
    assert open_dataset(tmp_path / "d").parts == {"train": 4, "valid": 3, "test": 4}
    with pytest.raises(UsageError, match=r"log\.csv: expected no interactions .* its own split"):
        run("update", tmp_path / "d", "--interactions", tmp_path / "log.csv")
    with pytest.raises(UsageError, match="--column part=x: expected no parts"):
        run("update", tmp_path / "d", "--items", tmp_path / "titles.csv", "--column", "part=x")
    assert rows_of(tmp_path / "d")[0] == before


def test_the_digest_of_a_dataset_covers_its_split(tmp_path):
    digests = []
    for number, label in enumerate((0, 1)):
        rows = [*ROWS, (0, 6, 1.0, 9, label)]
        imported(folder_of(tmp_path / f"m{number}", inter(rows)), tmp_path / f"d{number}")
        digests.append(open_dataset(tmp_path / f"d{number}").digest)
    assert digests[0] != digests[1]


@pytest.mark.parametrize("values", [[0, 1, 3], [0, None, 1], ["train", "train", "test"]])
def test_parts_that_are_none_are_no_dataset(tmp_path, values):
    import pyarrow as pa

    rows = {"user_id": list("abc"), "item_id": list("xyz"), "timestamp": [1, 2, 3], "part": values}
    items = dict.fromkeys(("title", "image", "video", "audio"), pa.nulls(3, pa.string()))
    with pytest.raises(DataError, match="column part"):
        write_dataset(
            tmp_path / "d", name="d", source_format="t", licence="l",
            interactions=pa.table(rows), items=pa.table({"item_id": list("xyz"), **items}),
        )  # fmt: skip


def shaped_like_mmrec(seed, user_count=60, item_count=40):
    """Return rows as its notebooks write them, of users with 5 to 30 items."""
    random, rows = np.random.default_rng(seed), []
    for user in range(user_count):
        items = random.permutation(item_count)[: int(random.integers(5, 31))].tolist()
        held_out = 2 if len(items) < 10 else int(0.2 * len(items))
        valid = 1 if len(items) < 10 else held_out // 2
        labels = [0] * (len(items) - held_out) + [1] * valid + [2] * (held_out - valid)
        rows += [(user, item, 5.0, int(random.integers(900)), label)
                 for item, label in zip(items, labels, strict=True)]  # fmt: skip
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_every_row_is_in_its_part_whatever_the_order_of_the_file(tmp_path, seed):
    rows = shaped_like_mmrec(seed)
    shuffled = [rows[n] for n in np.random.default_rng(seed).permutation(len(rows))]
    digests = []
    for name, chosen in (("a", rows), ("b", shuffled)):
        imported(folder_of(tmp_path / name, inter(chosen)), tmp_path / f"{name}-d")
        kept = kept_of(tmp_path / f"{name}-d")
        owners = np.repeat(kept.user_ids, np.diff(kept.offsets))
        found = zip(owners, kept.item_ids[kept.items], kept.parts, strict=True)
        assert {(int(user), int(item), int(part)) for user, item, part in found} == {
            (user, item, label) for user, item, _, _, label in rows
        }
        digests.append((kept.items.tolist(), kept.parts.tolist()))
    assert digests[0] == digests[1]


@pytest.mark.data
def test_the_real_data_comes_back_with_the_parts_it_left_with(tmp_path, test_data):
    imported(test_data / "microlens50k", tmp_path / "d", "--format", "microlens")
    run("export", tmp_path / "d", "--format", "mmrec", "--out", tmp_path / "microlens",
        "--split", "mmrec-random")  # fmt: skip
    imported(tmp_path / "microlens", tmp_path / "again")
    drawn = keep_sequences(open_dataset(tmp_path / "d").interactions(), split=Split("mmrec-random"))
    fixed = kept_of(tmp_path / "again")
    assert (len(fixed.user_ids), len(fixed.items)) == (50_000, 359_708)
    assert len(fixed.test_targets) == 53_004  # as golden/COMMON.md counts
    for name in ("user_ids", "item_ids", "items", "offsets", "parts"):
        assert np.array_equal(getattr(fixed, name), getattr(drawn, name)), name
