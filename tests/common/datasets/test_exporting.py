"""Exports for MMRec and RecBole: hand-worked files, the way there and back, and folders of others."""

import json
import os

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.datasets import keep_sequences, open_dataset, write_dataset
from crossan.common.split import Split
from support.imports import imported, rows_of, run
from support.interactions import make_table

ROWS = [
    *(("v", item, 1_700_000_000_000 + n) for n, item in enumerate("dcbae")),
    *(("u", item, 1_700_000_000_000 + n) for n, item in enumerate("abcdef")),
    ("w", "a", 1_700_000_000_000),
]
TITLES = {"a": "one", "b": 'two "inches"', "c": '"quoted"', "d": None, "e": "tab\there", "f": "six"}


def write(folder, rows=ROWS, titles=TITLES):
    items = list(titles)
    nothing = pa.nulls(len(items), pa.string())
    write_dataset(
        folder, name="toys", source_format="test", licence="none", interactions=make_table(rows),
        items=pa.table({
            "item_id": pa.array(items), "title": pa.array(list(titles.values()), pa.string()),
            "image": nothing, "video": nothing, "audio": nothing,
        }),
    )  # fmt: skip
    return folder


def export(dataset, out, *options):
    return json.loads(run("export", dataset, "--out", out, "--json", *options).splitlines()[-1])


def test_mmrec_by_hand(tmp_path):
    said = export(write(tmp_path / "d"), tmp_path / "toys", "--format", "mmrec", "--max-items", "5")
    # Users u and v, items a to f by id; of u the last five, and w is too short.
    assert (tmp_path / "toys/toys.inter").read_text().splitlines() == [
        "userID\titemID\ttimestamp\tx_label",
        "0\t1\t1700000000001\t0", "0\t2\t1700000000002\t0", "0\t3\t1700000000003\t0",
        "0\t4\t1700000000004\t1", "0\t5\t1700000000005\t2",
        "1\t3\t1700000000000\t0", "1\t2\t1700000000001\t0", "1\t1\t1700000000002\t0",
        "1\t0\t1700000000003\t1", "1\t4\t1700000000004\t2",
    ]  # fmt: skip
    assert (tmp_path / "toys/u_id_mapping.csv").read_text() == "user_id\tuserID\nu\t0\nv\t1\n"
    assert (tmp_path / "toys/i_id_mapping.csv").read_text().splitlines()[:2] == [
        "item_id\titemID",
        "a\t0",
    ]
    assert said["parts"] == {"train": 6, "valid": 2, "test": 2}
    assert said["left_out"] == {"users": 1, "items": 0, "interactions": 2}
    record = json.loads((tmp_path / "toys/export.json").read_text())
    assert {name: record[name] for name in ("split", "split_seed", "digest", "sequences")} == {
        name: said[name] for name in ("split", "split_seed", "digest", "sequences")
    }


def test_recbole_by_hand(tmp_path):
    said = export(write(tmp_path / "d"), tmp_path / "toys", "--format", "recbole")
    assert (
        (tmp_path / "toys/toys.inter")
        .read_text()
        .startswith("user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1700000000000\n")
    )
    assert (tmp_path / "toys/toys.test.inter").read_text().splitlines()[1:] == [
        "u\tf\t1700000000005",
        "v\te\t1700000000004",
    ]
    assert (tmp_path / "toys/toys.item").read_text().splitlines()[:6] == [
        "item_id:token\ttitle:token_seq",
        "a\tone",
        'b\t"two ""inches"""',
        'c\t"""quoted"""',
        "d\t",
        "e\ttab here",
    ]
    assert said["changed_titles"] == 1


def pairs(kept):
    return [
        (str(user), str(kept.item_ids[item]))
        for n, user in enumerate(kept.user_ids)
        for item in kept.sequence(n)
    ]


SEQUENCES = st.lists(
    st.lists(st.sampled_from("abcdefgh"), min_size=5, max_size=17), min_size=1, max_size=4
)


@settings(max_examples=300 if os.environ.get("CROSSAN_FAULTS") == "full" else 6)
@given(SEQUENCES, st.sampled_from(["mmrec-random", "leave-last-out"]), st.booleans())
def test_there_and_back(tmp_path_factory, sequences, split, is_timed):
    """What is imported again is what was kept, and each part that of the split."""
    place = tmp_path_factory.mktemp("place")
    rows = [
        (f"u{user}", item, 1_700_000_000_000 + n if is_timed else None)
        for user, items in enumerate(sequences)
        for n, item in enumerate(items)
    ]
    titles = {item: f'title of "{item}", the {n}th' for n, item in enumerate("abcdefgh")}
    dataset = open_dataset(write(place / "d", rows, titles))
    kept = keep_sequences(dataset.interactions(), split=Split(split))
    expected = [
        (*pair, 1_700_000_000_000 + n if is_timed else None)
        for user in range(len(kept.user_ids))
        for n, pair in last_of(kept, user, len(sequences[int(kept.user_ids[user][1:])]))
    ]
    export(place / "d", place / "recbole", "--format", "recbole", "--split", split)
    _, again, items = imported(place / "recbole", place / "from-recbole")
    assert again == expected
    assert {item: title for item, title, *_ in items} == {
        str(item): titles[str(item)] for item in kept.item_ids
    }
    for part, name in enumerate(("train", "valid", "test")):
        lines = (place / f"recbole/recbole.{name}.inter").read_text().splitlines()[1:]
        own = [row for row, own_part in zip(expected, kept.parts, strict=True) if own_part == part]
        assert [tuple(line.split("\t")[:2]) for line in lines] == [row[:2] for row in own]
    export(place / "d", place / "mmrec", "--format", "mmrec", "--split", split)
    _, again, _ = imported(place / "mmrec", place / "from-mmrec")
    parted = zip(expected, kept.parts.tolist(), strict=True)
    assert again == [(*row, part) for row, part in parted]
    fixed = keep_sequences(open_dataset(place / "from-mmrec").interactions(), split=Split("fixed"))
    for name in ("user_ids", "item_ids", "items", "offsets", "parts"):
        assert getattr(fixed, name).tolist() == getattr(kept, name).tolist()


def last_of(kept, user, length):
    """Return each kept item of a user with its place among all that the user had."""
    items = kept.sequence(user)
    first = length - len(items)
    return [
        (first + n, (str(kept.user_ids[user]), str(kept.item_ids[item])))
        for n, item in enumerate(items)
    ]


def test_numbers_follow_features_that_are_there(tmp_path):
    out = tmp_path / "toys"
    out.mkdir()
    names = ["f", "e", "z", "d", "c", "b", "a"]
    (out / "i_id_mapping.csv").write_text(
        "item_id\titemID\n" + "".join(f"{name}\t{n}\n" for n, name in enumerate(names))
    )
    before = (out / "i_id_mapping.csv").read_bytes()
    export(write(tmp_path / "d"), out, "--format", "mmrec")
    assert (out / "i_id_mapping.csv").read_bytes() == before
    first = (out / "toys.inter").read_text().splitlines()[1]
    assert first == "0\t6\t1700000000000\t0"  # a
    (out / "i_id_mapping.csv").write_text("item_id\titemID\na\t0\n")
    with pytest.raises(UsageError, match="found 5 without, first: b"):
        export(tmp_path / "d", out, "--format", "mmrec")
    (out / "i_id_mapping.csv").write_text("asin\titemID\na\t0\n")
    with pytest.raises(UsageError, match="expected the table of an earlier export"):
        export(tmp_path / "d", out, "--format", "mmrec")


@pytest.mark.parametrize("name", ["toys.inter", "toys.item", "toys.test.inter", "export.json"])
def test_files_of_others_stay(tmp_path, name):
    out = tmp_path / "toys"
    out.mkdir()
    (out / name).write_text("{}" if name == "export.json" else "mine")
    with pytest.raises(UsageError, match=r"export\.json|did not write"):
        export(write(tmp_path / "d"), out, "--format", "recbole")
    assert [path.name for path in out.iterdir()] == [name]


def test_a_later_export_takes_the_place_of_an_earlier_one_of_its_format(tmp_path):
    dataset, out = write(tmp_path / "d"), tmp_path / "toys"
    export(dataset, out, "--format", "recbole")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    export(dataset, out, "--format", "recbole", "--max-items", "5")
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert before.keys() == after.keys()
    assert before["toys.inter"] != after["toys.inter"]
    with pytest.raises(
        UsageError, match="an earlier export of --format mmrec, found one of recbole"
    ):
        export(dataset, out, "--format", "mmrec")
    with pytest.raises(UsageError, match="found the dataset"):
        export(dataset, dataset / "export", "--format", "mmrec")


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\rb"])
def test_an_id_that_would_be_two_fields_is_refused(tmp_path, name):
    rows = [("u", item, None) for item in (name, "b", "c", "d", "e")]
    dataset = write(tmp_path / "d", rows, dict.fromkeys((name, "b", "c", "d", "e")))
    with pytest.raises(DataError, match=r"without a tab or a line's end.*first: 'a\\"):
        export(dataset, tmp_path / "toys", "--format", "recbole")
    assert not (tmp_path / "toys").exists()


def test_what_is_left_out_is_said(tmp_path):
    untimed = [(user, item, None if user == "u" else time) for user, item, time in ROWS]
    said = run(
        "export", write(tmp_path / "d", untimed), "--format", "mmrec", "--out", tmp_path / "t"
    )
    assert "2 users, 6 items, 11 interactions" in said
    assert "timestamp" not in (tmp_path / "t/t.inter").read_text()
    assert rows_of(tmp_path / "d")  # and it is still read
    with pytest.raises(UsageError, match="expected none with --split leave-last-out"):
        export(tmp_path / "d", tmp_path / "t", "--format", "mmrec", "--split-seed", "4")
