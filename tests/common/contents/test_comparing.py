"""Which items a store's rows were not made from, against a slow twin and on real stores."""

import hashlib
import shutil

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.contents.comparing import (
    NOT_HERE,
    Comparison,
    compare_contents,
    compare_digests,
    is_foreign,
)
from crossan.common.datasets import open_dataset, write_dataset
from crossan.common.stores import ItemRow, Journal, create_store, open_store

DIGESTS = st.sampled_from(["a" * 64, "b" * 64])


def slow_verdict(content, digest, is_present):
    """Say of one item what the comparison must say, case by case."""
    if is_present:
        if digest is None:
            return "unrecorded"
        if content == NOT_HERE:
            return "not here"
        return "same" if content == digest else "stale"
    if content is None:
        return "same"
    if content == NOT_HERE:
        return "same" if digest is None else "not here"
    return "same" if content == digest else "stale"


@given(
    st.lists(
        st.tuples(
            st.none() | st.just(NOT_HERE) | DIGESTS,
            st.none() | DIGESTS,
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_stale_items_are_those_of_the_slow_twin(items):
    names = [f"i{number}" for number in range(len(items))]
    contents, recorded, has_row = zip(*items, strict=True) if items else ((), (), ())
    verdicts = [slow_verdict(*item) for item in items]
    compared = compare_digests(names, contents, recorded, has_row)
    for verdict, listed in (
        ("stale", compared.stale),
        ("not here", compared.not_here),
        ("unrecorded", compared.unrecorded),
    ):
        assert list(listed) == [
            name for name, one in zip(names, verdicts, strict=True) if one == verdict
        ]
    assert compared.compared == verdicts.count("same") + verdicts.count("stale")


@pytest.mark.parametrize(
    ("stale", "compared", "expected"),
    [(0, 0, False), (0, 5, False), (1, 2, False), (2, 3, True), (1, 1, True)],
)
def test_a_store_is_foreign_where_more_items_differ_than_agree(stale, compared, expected):
    assert is_foreign(stale, compared) == expected


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write_items(folder, **columns):
    """Write a dataset of items a, b, c with these media."""
    ids = ["c", "a", "b"]  # in another order than the store's
    nothing = dict.fromkeys(ids)
    return write_dataset(
        folder, name="three", source_format="test", licence="none",
        interactions=pa.table({"user_id": ["u"] * 3, "item_id": ids, "timestamp": [1, 2, 3]}),
        items=pa.table({
            "item_id": ids,
            **{name: pa.array([columns.get(name, nothing).get(item) for item in ids], pa.string())
               for name in ("title", "image", "video", "audio")},
        }),
    )  # fmt: skip


def make_store(folder, modality, records):
    """Make a store of ``(digest, status)`` by item id, with zeros where the status is ok."""
    identity = StoreIdentity(
        modality=modality,
        backbone={"id": "made-up"},
        inputs={},
        capture={"layers": [0], "pooling": "cls"},
        dim=4,
    )
    create_store(folder, identity, np.zeros((4, 1, 4), np.float32))
    journal = Journal.open(folder, "test")
    zeros = np.zeros((1, 4), np.float16)
    journal.append(
        [
            ItemRow(item, digest, status, None, zeros if status is ItemStatus.OK else None)
            for item, (digest, status) in records.items()
        ]
    )
    journal.publish({})
    journal.close()
    return open_store(folder)


def compare(dataset, store, items=("a", "b", "c")):
    return compare_contents(dataset, np.array(items), store)


def test_titles_are_compared_by_their_text(tmp_path):
    dataset = write_items(tmp_path / "d", title={"a": "one", "b": "zwei", "c": "  "})
    store = make_store(
        tmp_path / "s",
        Modality.TEXT,
        {
            "a": (sha256(b"one"), ItemStatus.OK),
            "b": (sha256(b"two"), ItemStatus.OK),
            "c": (None, ItemStatus.ABSENT),
            "z": (sha256(b"of no interest"), ItemStatus.OK),
        },
    )
    assert compare(dataset, store) == Comparison(3, stale=("b",))
    assert compare(dataset, store, ["a", "c"]) == Comparison(2)


def test_a_title_gained_or_lost_is_stale(tmp_path):
    dataset = write_items(tmp_path / "d", title={"a": "one", "c": "three"})
    store = make_store(
        tmp_path / "s",
        Modality.TEXT,
        {
            "a": (None, ItemStatus.ABSENT),
            "b": (sha256(b"two"), ItemStatus.OK),
            "c": (sha256(b"three"), ItemStatus.OK),
        },
    )
    assert compare(dataset, store).stale == ("a", "b")


@pytest.fixture
def films(tmp_path, monkeypatch):
    """A dataset with a video each, of which a has a sound file too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "d").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4", "a.wav"):
        (tmp_path / "d" / name).write_bytes(name.encode())
    videos = {item: f"{item}.mp4" for item in "abc"}
    return write_items(tmp_path / "d", video=videos, audio={"a": "a.wav"})


def sounds(folder):
    """Make the store of what these sound like, b without a sound track and c quarantined."""
    return make_store(
        folder,
        Modality.AUDIO,
        {
            "a": (sha256(b"a.wav"), ItemStatus.OK),
            "b": (sha256(b"b.mp4"), ItemStatus.ABSENT),
            "c": (sha256(b"c.mp4"), ItemStatus.QUARANTINED),
        },
    )


def test_a_replaced_video_makes_the_sound_taken_from_it_stale(films, tmp_path):
    store = sounds(tmp_path / "s")
    assert compare(films, store) == Comparison(3)
    for name in ("a.mp4", "b.mp4"):
        (films.root / name).write_bytes(b"another film")
    assert compare(films, store) == Comparison(3, stale=("b",))  # a has a sound file of its own


def test_files_that_are_elsewhere_are_not_compared(films, tmp_path):
    store = sounds(tmp_path / "s")
    shutil.move(films.root / "c.mp4", tmp_path)
    assert compare(films, store) == Comparison(3, not_here=("c",))
    for path in films.root.glob("*.*"):
        if path.suffix in {".mp4", ".wav"}:
            path.unlink()
    moved = open_dataset(films.root)
    assert compare(moved, store).not_here == ("a", "b", "c")
    assert compare(moved, store).compared == 0


def test_a_file_that_could_not_be_hashed_then_is_let_be(films, tmp_path):
    """Extraction would not change it, so to name it stale would stop every training for good."""
    store = make_store(
        tmp_path / "s",
        Modality.VIDEO,
        {
            "a": (sha256(b"a.mp4"), ItemStatus.OK),
            "b": (None, ItemStatus.QUARANTINED),
            "c": (None, ItemStatus.MISSING),
        },
    )
    assert compare(films, store).stale == ("c",)  # there was no file, and now there is


def test_imported_hidden_states_cannot_be_compared(films, tmp_path):
    store = make_store(
        tmp_path / "s",
        Modality.VIDEO,
        {"a": (None, ItemStatus.OK), "b": (None, ItemStatus.OK), "c": (None, ItemStatus.ABSENT)},
    )
    assert compare(films, store) == Comparison(3, unrecorded=("a", "b", "c"))
