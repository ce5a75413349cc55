"""Adding to a dataset: what is new is added, what is there is counted, what changed is said."""

import json

import pytest

from crossan.cache_schema.errors import BusyError, DataError, UsageError
from crossan.common.datasets import open_dataset, publishing, updating
from crossan.common.datasets.formats import ImportSource
from support.imports import ITEMS, LOG, imported, make, rows_of, run


@pytest.fixture
def dataset(tmp_path):
    """Import four interactions and three items; return the dataset folder."""
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=ITEMS)
    imported(source, tmp_path / "d", "--name", "shop", "--licence", "CC0-1.0")
    return tmp_path / "d"


def write(path, text):
    path.write_text(text)
    return path


def updated(dataset, *options):
    """Update; return the report."""
    return json.loads(run("update", dataset, "--json", *options).splitlines()[-1])["report"]


def test_a_log_that_overlaps_adds_what_is_new(dataset, tmp_path):
    before, _ = rows_of(dataset)
    log = write(tmp_path / "log.csv", LOG + "w,2,1700000009\nu,9,1700000010\n")
    report = updated(dataset, "--interactions", log)
    assert report["added"] == {"interactions": 2, "users": 1, "items": 0}
    assert report["already_there"] == {"interactions": 4, "items": 0}
    after, _ = rows_of(dataset)
    assert after == [*before, ("w", "2", 1_700_000_009_000), ("u", "9", 1_700_000_010_000)]
    opened = open_dataset(dataset)
    assert (opened.name, opened.licence, opened.source_format) == ("shop", "CC0-1.0", "table")
    assert opened.counts == {"users": 3, "items": 4, "interactions": 6}


def written_files(folder):
    """Return of each file what writing it would change. Reading may change its time of access."""
    stats = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def test_the_same_again_changes_no_byte(dataset, tmp_path):
    log = write(tmp_path / "log.csv", LOG + "w,2,1700000009\n")
    updated(dataset, "--interactions", log, "--items", write(tmp_path / "m.csv", ITEMS))
    files = written_files(dataset)
    report = updated(dataset, "--interactions", log, "--items", tmp_path / "m.csv")
    assert report["added"] == {"interactions": 0, "users": 0, "items": 0}
    assert report["already_there"] == {"interactions": 5, "items": 3}
    assert written_files(dataset) == files


def test_new_items_are_added_and_known_ones_change_and_it_is_said(dataset, tmp_path):
    items = write(tmp_path / "m.csv", "item_id,name\n4,four\n2,Two!\n1,\n9,nine\n3,three\n")
    report = updated(dataset, "--items", items)
    assert report["added"] == {"interactions": 0, "users": 0, "items": 1}
    assert report["already_there"]["items"] == 2  # 1, whose title is empty here, and 9
    assert report["replaced"] == {
        "title": {"count": 2, "examples": ["2: two -> Two!", "3: none -> three"]}
    }
    _, rows = rows_of(dataset)
    assert [row[:2] for row in rows] == [
        ("1", "one"), ("2", "Two!"), ("9", "nine"), ("3", "three"), ("4", "four"),
    ]  # fmt: skip
    assert "- items with another title than before: 2 (" in run(
        "update", dataset, "--items", write(tmp_path / "n.csv", ITEMS.replace("o", "0"))
    )


def test_media_of_new_and_of_known_items(dataset, tmp_path):
    covers = tmp_path / "covers"
    covers.mkdir()
    for name in ("1.jpg", "4.jpg"):
        (covers / name).write_bytes(b"x")
    items = write(tmp_path / "m.csv", "item_id,title\n4,four\n")
    report = updated(dataset, "--items", items, "--images", covers)
    assert report["replaced"] == {"image": {"count": 1, "examples": [f"1: none -> {covers}/1.jpg"]}}
    assert report["media"][0]["join"]["matched"] == 2
    assert updated(dataset, "--images", covers)["replaced"] == {}
    (covers / "1.png").write_bytes(b"y")
    (covers / "1.jpg").unlink()
    report = updated(dataset, "--images", covers)
    assert report["replaced"]["image"]["examples"] == [f"1: {covers}/1.jpg -> {covers}/1.png"]
    assert {row[0]: row[2] for row in rows_of(dataset)[1]}["4"] == f"{covers}/4.jpg"


def test_files_that_the_dataset_names_relative_to_itself_stay_so(tmp_path):
    source = make(tmp_path / "d", interactions_csv=LOG, items_csv=ITEMS)
    imported(source, tmp_path / "d")
    covers = tmp_path / "d" / "covers"
    covers.mkdir()
    (covers / "1.jpg").write_bytes(b"x")
    updated(tmp_path / "d", "--images", covers)
    opened = open_dataset(tmp_path / "d")
    relative = opened.items().set_column(2, "image", [["covers/1.jpg", None, None, None]])
    updating.write_dataset(
        opened.root, name="n", source_format="table", licence="l",
        interactions=opened.interactions(), items=relative, is_replaced=True,
    )  # fmt: skip
    report = updated(tmp_path / "d", "--images", covers)
    assert (report["replaced"], report["media"][0]["join"]["matched"]) == ({}, 1)
    assert rows_of(tmp_path / "d")[1][0][2] == "covers/1.jpg"


def test_ids_that_are_written_differently_are_those_of_the_dataset(dataset, tmp_path):
    log = write(tmp_path / "log.csv", "user,item,ts\nw,2.0,1700000009\n")
    items = write(tmp_path / "m.csv", "item_id,title\n01,uno\n")
    report = updated(dataset, "--interactions", log, "--items", items)
    assert report["added"] == {"interactions": 1, "users": 1, "items": 0}
    assert rows_of(dataset)[0][-1] == ("w", "2", 1_700_000_009_000)
    assert rows_of(dataset)[1][0][:2] == ("1", "uno")


@pytest.mark.parametrize("spelling", ["{}.0", "{:03}", " {}", "0{}.0"])
def test_users_that_are_written_differently_are_those_of_the_dataset(tmp_path, spelling):
    rows = [(user, item, 1_700_000_000 + item) for user in range(3) for item in range(1, 4)]
    texts = ["user_id,item_id,timestamp", *(f"{user},{item},{ts}" for user, item, ts in rows)]
    source = make(tmp_path / "s", interactions_csv="\n".join(texts))
    imported(source, tmp_path / "d")
    before = rows_of(tmp_path / "d")
    texts[1:] = [f"{spelling.format(user)},{item}.0,{ts}.0" for user, item, ts in rows]
    log = write(tmp_path / "log.csv", "\n".join(texts))
    report = updated(tmp_path / "d", "--interactions", log)
    assert report["added"] == {"interactions": 0, "users": 0, "items": 0}
    join = report["joins"][-1]
    assert (join["left"], join["matched"]) == ("users of the log", 3)
    assert sum(join["loosely"].values()) == 3
    assert rows_of(tmp_path / "d") == before
    log.write_text(
        f"{texts[0]}\n{spelling.format(2)},1,1700000050\n{spelling.format(7)},1,1700000051\n"
    )
    report = updated(tmp_path / "d", "--interactions", log)
    assert report["added"] == {"interactions": 2, "users": 1, "items": 0}
    assert report["joins"][-1]["unmatched"]["count"] == 1
    assert rows_of(tmp_path / "d")[0][-2][0] == "2"


def test_users_of_whom_two_could_be_meant_stay_apart(tmp_path):
    log = "user_id,item_id,timestamp\n3,1,1700000001\n03,1,1700000002\n"
    imported(make(tmp_path / "s", interactions_csv=log), tmp_path / "d")
    more = write(tmp_path / "more.csv", "user_id,item_id,timestamp\n003,1,1700000003\n")
    assert updated(tmp_path / "d", "--interactions", more)["added"]["users"] == 1


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        ("user,item,ts\nw,x,1700000009\n", "found none of them among 1"),
        ("user,item\nw,1\n", "expected timestamps, as the dataset has, found no timestamps"),
        ("user,item,ts\nw,1,7\n", "expected timestamps like those of the dataset"),
    ],
)
def test_what_does_not_go_with_the_dataset_is_refused_and_nothing_written(
    dataset, tmp_path, log, fault
):
    before = rows_of(dataset)
    with pytest.raises(DataError, match=fault):
        run("update", dataset, "--interactions", write(tmp_path / "log.csv", log))
    assert rows_of(dataset) == before


def test_an_item_given_twice_is_refused(dataset, tmp_path):
    items = write(tmp_path / "m.csv", "item_id,title\n4,four\n4,vier\n")
    with pytest.raises(
        DataError, match="m.csv, column item_id, row 2: expected each item once, found"
    ):
        run("update", dataset, "--items", items)


def test_something_to_add_has_to_be_named(dataset, tmp_path):
    with pytest.raises(UsageError, match="nothing to add: expected --interactions"):
        run("update", dataset)
    with pytest.raises(UsageError, match="expected a folder with dataset.json"):
        run("update", tmp_path / "nowhere", "--items", tmp_path / "m.csv")


def test_the_record_keeps_the_import_and_the_last_update(dataset, tmp_path):
    for night in range(3):
        log = write(tmp_path / "log.csv", f"user_id,item_id,timestamp\nu,1,{1700000100 + night}\n")
        updated(dataset, "--interactions", log)
    record = json.loads((dataset / "import.json").read_bytes())
    assert (record["imported"]["command"], record["updates"]) == ("import", 3)
    assert record["updated"]["times"]["first"] == "2023-11-14T22:15:02+00:00"


def test_an_update_that_another_has_overtaken_is_refused(dataset, tmp_path, monkeypatch):
    first = write(tmp_path / "first.csv", "user_id,item_id,timestamp\nu,1,1700000100\n")
    second = ImportSource(
        root=dataset,
        interactions=write(tmp_path / "b.csv", "user_id,item_id,timestamp\nu,2,1700000200\n"),
    )
    write_now = updating.write_dataset

    def write_late(*arguments, **options):
        monkeypatch.setattr(updating, "write_dataset", write_now)
        updated(dataset, "--interactions", first)
        return write_now(*arguments, **options)

    monkeypatch.setattr(updating, "write_dataset", write_late)
    with pytest.raises(BusyError, match="another process has written this dataset meanwhile"):
        updating.update_dataset(dataset, second)
    assert len(rows_of(dataset)[0]) == 5
    assert updating.update_dataset(dataset, second)[1].added["interactions"] == 1


@pytest.mark.parametrize("name", ["replace", "mkdir"])
def test_an_update_that_cannot_write_leaves_the_old_or_the_new(
    dataset, tmp_path, monkeypatch, name
):
    before = rows_of(dataset)
    log = write(tmp_path / "log.csv", "user_id,item_id,timestamp\nu,9,1700000100\n")
    with monkeypatch.context() as patch:

        def refuse(*arguments, **options):
            raise OSError(28, "No space left on device")

        patch.setattr(publishing.Path, name, refuse)
        with pytest.raises(OSError, match="space left"):
            run("update", dataset, "--interactions", log)
    assert rows_of(dataset) == before
    assert updated(dataset, "--interactions", log)["added"]["interactions"] == 1
