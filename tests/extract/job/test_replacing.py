"""What a job says before it supersedes rows, and the store of another dataset that it refuses to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crossan.cache_schema.errors import IncompatibleError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.contents.media_list import Medium
from crossan.common.datasets import open_dataset
from crossan.common.stores import logical_digest, open_store
from crossan.extract.job.plan import Shard
from crossan.extract.job.replacing import (
    Replaced,
    find_replaced,
    joined,
    note_replaced,
    refuse_foreign,
)
from crossan.extract.job.request import JobRequest
from crossan.extract.job.run import extract_modality, preview_modality
from crossan.extract.job.worklist import Finding

ITEMS = [f"i{number}" for number in range(9)]


@given(
    st.dictionaries(
        st.sampled_from(ITEMS),
        st.tuples(st.none() | st.sampled_from("ab"), st.none() | st.sampled_from("ab")),
    ),
    st.sets(st.sampled_from(ITEMS)),
    st.integers(1, 4),
)
def test_replaced_items_are_those_of_a_loop_however_the_batches_are_cut(items, unknown, size):
    """An item holds a digest, or none, and the store records a digest, or none, or no such item."""
    findings = [Finding(Medium(item), now) for item, (now, _) in items.items()]
    recorded = {
        item: (then, ItemStatus.OK) for item, (_, then) in items.items() if item not in unknown
    }
    expected, compared = [], 0
    for item in sorted(items):
        now, then = items[item]
        if item in unknown or then is None:
            continue
        compared += 1
        if now != then:
            expected.append(item)
    batches = [findings[start : start + size] for start in range(0, len(findings), size)]
    replaced = joined([find_replaced(batch, recorded) for batch in batches])
    assert replaced == Replaced(tuple(expected), compared)
    assert replaced.is_foreign == (2 * len(expected) > compared)


@pytest.fixture
def ask(tmp_path):
    def request(dataset="d", **changes):
        values = {"cache": tmp_path / "c", "batch_size": 3, "num_workers": 0}
        return JobRequest(dataset=tmp_path / dataset, **(values | changes))

    return request


def titles(text):
    return [{"item_id": item, "title": f"{text} {item}"} for item in ITEMS]


def test_another_dataset_of_the_same_name_cannot_take_a_store_over(
    tmp_path, ask, make_dataset, counting_encoder, capsys
):
    make_dataset(tmp_path / "d", titles("one"))
    make_dataset(tmp_path / "other", titles("another"))
    store = extract_modality(ask(), counting_encoder()).store
    before = logical_digest(open_store(store))
    expected = (
        rf"made from other contents than dataset toy in {tmp_path}/other has: 9 of 9 items have"
        r" another title or file, or none now, first: i0"
    )
    encoder = counting_encoder()
    for attempt in (extract_modality, preview_modality):
        with pytest.raises(IncompatibleError, match=expected) as caught:
            attempt(ask("other"), encoder)
        assert "--replace-contents" in caught.value.message
        assert caught.value.remedy.endswith(f"of its own: --cache {tmp_path / 'c'}-2")
    assert encoder.batches == []
    assert (open_store(store).version, logical_digest(open_store(store))) == (1, before)
    assert list((store / "staging").iterdir()) == []
    replaced = extract_modality(ask("other", may_replace=True), counting_encoder())
    assert (replaced.forwarded, replaced.replaced, replaced.store) == (9, 9, store)
    assert "replacing the rows of 9 of 9 items" in capsys.readouterr().err


def test_every_shard_of_another_dataset_is_refused(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", titles("one"))
    make_dataset(tmp_path / "other", titles("another"))
    extract_modality(ask(), counting_encoder())
    for number in (1, 2, 3):
        with pytest.raises(IncompatibleError, match="3 of 3 items"):
            extract_modality(ask("other", shard=Shard(number, 3)), counting_encoder())


def test_an_edited_title_is_replaced_and_said(
    tmp_path, ask, make_dataset, counting_encoder, capsys
):
    make_dataset(tmp_path / "d", titles("one"))
    extract_modality(ask(), counting_encoder())
    edited = [*titles("one")[:-1], {"item_id": "i8", "title": "edited"}, {"item_id": "new"}]
    make_dataset(tmp_path / "edited", edited)
    preview = preview_modality(ask("edited"), counting_encoder())
    assert (preview.outlook.to_forward, preview.to_dict()["replaced"]) == (1, 1)
    result = extract_modality(ask("edited"), counting_encoder())
    assert (result.forwarded, result.to_dict()["replaced"]) == (1, 1)
    assert "forwarded 1, rows replaced 1 in" in result.to_text()
    line = "replacing the rows of 1 of 9 items, whose title or file is another one now, first: i8"
    assert capsys.readouterr().err.count(line) == 2
    again = extract_modality(ask("edited"), counting_encoder())
    assert (again.forwarded, again.replaced) == (0, 0)


def test_a_folder_of_media_that_went_away_takes_no_row_with_it(
    tmp_path, ask, make_dataset, counting_encoder
):
    """A disk that is not mounted: all files are missing, and none of their rows is worth less."""
    media = tmp_path / "media"
    media.mkdir()
    items = []
    for number, item in enumerate(ITEMS):
        Image.new("L", (2, 2), number).save(media / f"{item}.png")
        items.append({"item_id": item, "image": str(media / f"{item}.png")})
    make_dataset(tmp_path / "d", items)
    store = extract_modality(ask(), counting_encoder(Modality.IMAGE)).store
    media.rename(tmp_path / "elsewhere")
    with pytest.raises(IncompatibleError, match="9 of 9 items have another title or file, or none"):
        extract_modality(ask(), counting_encoder(Modality.IMAGE))
    assert open_store(store).version == 1


def test_nothing_replaced_is_nothing_to_say(tmp_path, make_dataset, capsys):
    dataset = open_dataset(make_dataset(tmp_path / "d", titles("one")))
    store = tmp_path / "c/toy/text/s"
    refuse_foreign(Replaced((), 9), dataset, store)
    note_replaced(Replaced((), 9), store)
    assert capsys.readouterr().err == ""


def flip_last_byte(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 4
    file.write_bytes(data)


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "damage",
    [
        lambda store: flip_last_byte(next(store.glob("segments/*/hidden_states/c/0/0/0"))),
        lambda store: flip_last_byte(store / "versions/000001.json"),
        lambda store: (store / "versions/000001.json").unlink(),
        lambda store: (store / "store.json").unlink(),
        lambda store: flip_last_byte(next(store.glob("segments/*/hidden_states/zarr.json"))),
        lambda store: None,
    ],
)
def test_a_repair_with_another_dataset_is_refused_before_anything_changes(
    tmp_path, ask, make_dataset, counting_encoder, damage
):
    make_dataset(tmp_path / "d", titles("one"))
    make_dataset(tmp_path / "other", titles("another"))
    store = extract_modality(ask(), counting_encoder()).store
    before = logical_digest(open_store(store))
    damage(store)
    damaged = snapshot(store)
    for shard in (Shard(1, 1), Shard(2, 3)):
        with pytest.raises(IncompatibleError, match="9 of 9 items"):
            extract_modality(ask("other", is_repair=True, shard=shard), counting_encoder())
    assert snapshot(store) == damaged
    extract_modality(ask(is_repair=True), counting_encoder())
    assert logical_digest(open_store(store)) == before


def test_a_repair_takes_an_edited_title_although_its_row_alone_was_rescued(
    tmp_path, ask, make_dataset, counting_encoder
):
    make_dataset(tmp_path / "d", titles("one"))
    store = extract_modality(ask(shard=Shard(1, 3)), counting_encoder()).store
    (old,) = store.glob("segments/*/hidden_states/c/0/0/0")
    extract_modality(ask(shard=Shard(2, 3)), counting_encoder())
    rescued = [str(item) for item in open_store(store).item_ids]
    flip_last_byte(old)
    kept = [item for item in rescued if item not in ("i0", "i1", "i2")]
    edited = [
        {"item_id": item, "title": "edited" if item in kept[:2] else f"one {item}"}
        for item in ITEMS
    ]
    make_dataset(tmp_path / "edited", edited)
    result = extract_modality(ask("edited", is_repair=True), counting_encoder())
    assert (result.forwarded, result.replaced) == (8, 2)


def test_another_dataset_may_take_a_damaged_store_where_that_is_said(
    tmp_path, ask, make_dataset, counting_encoder
):
    make_dataset(tmp_path / "d", titles("one"))
    make_dataset(tmp_path / "other", titles("another"))
    store = extract_modality(ask(), counting_encoder()).store
    flip_last_byte(next(store.glob("segments/*/hidden_states/c/0/0/0")))
    result = extract_modality(ask("other", is_repair=True, may_replace=True), counting_encoder())
    assert result.forwarded == 9
