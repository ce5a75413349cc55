"""Stores of one fingerprint that are of different datasets, and those that only look so."""

from __future__ import annotations

import json

import pytest

from crossan.cache_schema.errors import IncompatibleError
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, fsck, open_store
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.sharing.locations import FolderLocation
from crossan.common.stores.sharing.strangers import require_one_dataset
from crossan.common.stores.sharing.transfer import merge, transfer
from crossan.common.stores.versions import read_version

FINE, OTHER_CONTENTS, OTHER_NAME = None, "other contents in", "expected stores of one dataset"


def push(source, target, **options):
    return transfer(FolderLocation(source), FolderLocation(target), **options)


def unite(way, source, target, **options):
    """Bring what a store holds into another one, by one of the three ways."""
    if way == "merge":
        return merge([FolderLocation(source)], FolderLocation(target), **options)
    return push(source, target, is_source_first=way == "pull", **options)


@pytest.fixture
def write(begin_store, make_identity, make_rows):
    """Return a function that appends items with some numbers as contents and values to a store of a name."""

    def write(name, contents, dataset="toys", statuses=None):
        folder = begin_store(make_identity(), name)
        journal = Journal.open(folder, "shard 1/1")
        rows = []
        for number, content in contents.items():
            made = make_rows(range(content, content + 1))[0]
            status = (statuses or {}).get(number, ItemStatus.OK)
            is_ok = status is ItemStatus.OK
            rows.append(
                ItemRow(
                    f"v{number:05d}",
                    made.content_digest if is_ok else None,
                    status,
                    row=made.row if is_ok else None,
                )
            )
        journal.append(rows)
        journal.publish({} if dataset is None else {"dataset": dataset})
        journal.close()
        return folder

    return write


SAME = dict.fromkeys(range(4), 0)  # four items, each of content 0
TABLE = {
    "parts of one job": ((range(4), None), (range(4, 8), None), FINE),
    "the same items": ((range(4), None), (range(4), None), FINE),
    "an edited title": ((range(4), None), (range(4), {2: 9}), f"{OTHER_CONTENTS} 1 of the 4 items"),
    "other titles": ((range(4), None), (range(4), dict.fromkeys(range(4), 9)), f"{OTHER_CONTENTS} 4 of the 4 items"),
    "one common item of other content": ((range(4), None), (range(3, 9), {3: 9}), f"{OTHER_CONTENTS} 1 of the 1 items"),
    "an item that was missing": ((range(4), None), (range(4), {1: ItemStatus.MISSING}), FINE),
    "an item without the medium": ((range(4), None), (range(4), {1: ItemStatus.ABSENT}), FINE),
    "a deleted item": ((range(4), None), (range(4), {1: ItemStatus.DELETED}), FINE),
}  # fmt: skip


def made_of(write, name, described, **options):
    numbers, changes = described
    statuses = {n: s for n, s in (changes or {}).items() if isinstance(s, ItemStatus)}
    contents = {n: n for n in numbers} | {
        n: c for n, c in (changes or {}).items() if n not in statuses
    }
    return write(name, contents, statuses=statuses, **options)


@pytest.mark.parametrize(
    ("way", "case"),
    [*(("merge", case) for case in TABLE), ("pull", "an edited title"), ("push", "other titles")],
)
def test_strangers_are_united_only_if_their_contents_agree(write, way, case):
    ours, theirs, refusal = TABLE[case]
    a, b = made_of(write, "a", ours), made_of(write, "b", theirs)
    if refusal is FINE:
        unite(way, b, a)
        assert len(open_store(a).records) == 2
    else:
        before = read_version(a)
        with pytest.raises(IncompatibleError, match=f"{refusal}.*first: v00") as refused:
            unite(way, b, a)
        assert refused.value.exit_code == 5
        assert "--allow-other-contents" in refused.value.remedy
        assert read_version(a) == before
        assert len(list((a / "segments").iterdir())) == 1
        unite(way, b, a, are_other_contents_allowed=True)
        assert len(open_store(a).records) == 2
    assert fsck(a).ok


@pytest.mark.parametrize(
    ("way", "ours", "theirs", "refusal"),
    [
        ("merge", "toys", "toys", FINE),
        ("merge", "toys", "books", OTHER_NAME),
        ("pull", "toys", "books", OTHER_NAME),
        ("push", "toys", "books", OTHER_NAME),
        ("merge", "toys", None, FINE),  # written before the name was recorded
    ],
)
def test_strangers_of_other_names_are_not_united(write, way, ours, theirs, refusal):
    a = write("a", {1: 1}, dataset=ours)
    b = write("b", {2: 2}, dataset=theirs)
    if refusal is FINE:
        unite(way, b, a)
    else:
        with pytest.raises(IncompatibleError, match=f"{OTHER_NAME}, found toys and books"):
            unite(way, b, a)
        unite(way, b, a, are_other_contents_allowed=True)
    assert len(open_store(a).item_ids) == 2


def test_a_compaction_does_not_hide_whose_the_rows_are(write):
    a, b = write("a", {1: 1}), write("b", {2: 2}, dataset="books")
    other = write("c", {3: 3}, dataset="books")
    unite("merge", other, b)
    compact(b, "test")
    with pytest.raises(IncompatibleError, match="found toys and books"):
        unite("merge", b, a)


def test_a_title_that_a_teammate_edited_is_no_stranger(write, tmp_path, append):
    """Ben has Ada's history, so what he wrote later is what he meant; also compacted and collected."""
    ada = write("a", {1: 1, 2: 2})
    ben = tmp_path / "b"
    push(ada, ben)
    append(ben, [1], [9])
    compact(ben, "test")
    collect(ben, keep=1)
    append(ada, [3])  # both have gone on
    assert push(ben, ada).segments == 1
    assert open_store(ada).read([0, 1])[:, 0, 0].tolist() == [9, 2]
    assert fsck(ada).ok


def test_an_item_that_both_changed_is_said(store, tmp_path, append, capsys):
    ben = tmp_path / "b"
    push(store, ben)
    append(store, [1, 3], [9, 8])
    append(ben, [1, 4], [7, 6])
    push(ben, store)
    said = capsys.readouterr().err
    assert "1 items were changed both in" in said
    assert "the row that was written later counts, first: v00001" in said
    push(store, ben)
    assert "changed both" not in capsys.readouterr().err


def test_parts_of_a_job_are_compared_with_each_other(write, tmp_path):
    parts = [write(f"p{n}", {n: n, 9: 9}) for n in range(4)]
    wrong = write("wrong", {3: 77, 9: 9})
    target = tmp_path / "all"
    with pytest.raises(IncompatibleError, match=f"p3 and .*wrong: .*{OTHER_CONTENTS} 1 of the 2"):
        merge([FolderLocation(path) for path in [*parts, wrong]], FolderLocation(target))
    assert not target.exists()
    merge([FolderLocation(path) for path in parts], FolderLocation(target))
    assert len(open_store(target).item_ids) == 5


@pytest.mark.parametrize("seed", range(6))
def test_the_quick_comparison_agrees_with_one_of_all_pairs(write, seed):
    """The slow twin looks at every item of every pair of stores."""
    import random

    chance = random.Random(seed)
    contents = [
        {n: n if chance.random() < 0.9 else 50 + n for n in range(8) if chance.random() < 0.5}
        for _ in range(3)
    ]
    folders = [write(f"s{number}", items or {20: 20}) for number, items in enumerate(contents)]
    is_wrong = any(
        one[n] != other[n] for one in contents for other in contents for n in one.keys() & other
    )
    stores = [(FolderLocation(folder), read_version(folder)) for folder in folders]
    if is_wrong:
        with pytest.raises(IncompatibleError):
            require_one_dataset(stores, "")
    else:
        require_one_dataset(stores, "")


def test_the_commands_refuse_and_say_how_it_is_meant(write, tmp_path):
    from typer.testing import CliRunner

    from crossan.common.stores.cli import app

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    a, b = write("a", {1: 1, 2: 2}), write("b", {1: 5, 2: 6})
    for arguments in (["merge", a, b], ["push", b, a], ["pull", b, "--to", a]):
        assert isinstance(run(*arguments).exception, IncompatibleError)
    done = run("merge", a, b, "--allow-other-contents", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["version"] == 2
