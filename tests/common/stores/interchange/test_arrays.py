"""Arrays of features that others wrote: every layout that NumPy knows, and what is no array."""

import hashlib
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import Modality
from crossan.common.stores import fsck, open_store
from crossan.common.stores.cli import app
from crossan.common.stores.describing.licences import producers_of, restrictions
from crossan.common.stores.interchange import arrays
from crossan.common.stores.interchange.importers import ImportTarget, import_features


def imported(source, source_format, cache, **more):
    target = ImportTarget(cache=cache, dataset="baby", modality=Modality.IMAGE, **more)
    return open_store(import_features(source, source_format, target).store)


def saved(folder, array, ids=None):
    """Write MMRec's array of images, and its mapping where there are ids; return the folder."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "image_feat.npy", array)
    if ids is not None:
        rows = "".join(f"{name}\t{row}\n" for row, name in enumerate(ids))
        (folder / "i_id_mapping.csv").write_text(f"asin\titemID\n{rows}")
    return folder


def values(rows=5, dim=3, dtype=np.float32):
    return (np.arange(rows * dim).reshape(rows, dim) / 8 - 1).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("<f4", "float32"), (">f4", "float32"), ("<f2", "float16"), (">f2", "float16"),
     ("<f8", "float32"), (">f8", "float32")],
)  # fmt: skip
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_float_in_every_order_keeps_its_values(tmp_path, dtype, stored, order):
    array = np.asarray(values().astype(dtype), order=order)
    opened = imported(saved(tmp_path / "m", array, "edcba"), "mmrec", tmp_path / "c")
    assert (opened.item_ids.tolist(), opened.layers) == (list("abcde"), (0,))
    assert opened.identity.stored_dtype == stored
    np.testing.assert_array_equal(opened.load()[:, 0], values()[::-1])
    assert fsck(opened.path).ok


def test_float16_is_stored_where_it_is_asked_for(tmp_path):
    array = np.array([[1.0, 1e-9], [0.1, 70_000.0]], np.float32)
    opened = imported(
        saved(tmp_path / "m", array, "ab"), "mmrec", tmp_path / "c", stored_dtype="float16"
    )
    assert opened.load()[0, 0].tolist() == [1.0, 0.0]
    assert opened.reasons == [None, "not-finite: overflow in layer 0: 70,000 > 65,504"]


def test_rows_of_nan_and_doubles_beyond_float32_are_quarantined(tmp_path):
    array = np.array([[1.0, 2.0], [np.nan, 0.0], [1e300, 0.0]], np.float64)
    opened = imported(saved(tmp_path / "m", array, "abc"), "mmrec", tmp_path / "c")
    assert opened.status.tolist() == ["ok", "quarantined", "quarantined"]
    assert opened.reasons[1] == "not-finite: NaN in layer 0"
    assert opened.presence.tolist() == [True, False, False]


def test_without_a_mapping_items_are_called_by_the_numbers_of_their_rows(tmp_path, capsys):
    opened = imported(saved(tmp_path / "m", values(11)), "mmrec", tmp_path / "c")
    assert opened.item_ids.tolist() == sorted(str(row) for row in range(11))  # 10 before 2
    row_of_ten = opened.item_ids.tolist().index("10")
    np.testing.assert_array_equal(opened.load()[row_of_ten, 0], values(11)[10])
    assert "no i_id_mapping.csv, so the ids" in capsys.readouterr().err


def test_a_mapping_serves_as_the_list_of_an_array_anywhere(tmp_path):
    source = saved(tmp_path / "m", values(), ["e", "d", "itemID 7", "b", "a"])
    ids = source / "i_id_mapping.csv"
    opened = imported(source / "image_feat.npy", "npy", tmp_path / "c", ids=ids)
    assert opened.item_ids.tolist() == ["a", "b", "d", "e", "itemID 7"]
    np.testing.assert_array_equal(opened.load()[0, 0], values()[4])


def test_a_list_whose_first_id_is_like_a_header_is_a_list(tmp_path):
    np.save(tmp_path / "f.npy", values(2))
    (tmp_path / "ids.txt").write_text("the itemID\nb\n")
    opened = imported(tmp_path / "f.npy", "npy", tmp_path / "c", ids=tmp_path / "ids.txt")
    assert opened.item_ids.tolist() == ["b", "the itemID"]


def test_where_features_come_from_is_recorded(tmp_path, capsys):
    source = saved(tmp_path / "m", values(), "abcde")
    opened = imported(source, "mmrec", tmp_path / "c")
    (producer,) = producers_of(opened.path)
    assert producer["features_of"] == "unknown backbone"
    assert producer["imported_files"] == {
        name: hashlib.sha256((source / name).read_bytes()).hexdigest()
        for name in ("image_feat.npy", "i_id_mapping.csv")
    }
    assert restrictions(opened.path) == [
        "backbone licence unknown: the licence is not known",
        "data licence unknown: the licence is not known",
    ]
    said = capsys.readouterr().err
    assert "features of unknown backbone (--backbone) and licence (--licence)" in said


def test_what_the_user_names_is_recorded_instead(tmp_path):
    source = saved(tmp_path / "m", values(), "abcde")
    result = CliRunner().invoke(app, [
        "import", str(source), "--format", "mmrec", "--modality", "image", "--dataset", "baby",
        "--cache", str(tmp_path / "c"), "--backbone", "4,096-dim CNN", "--licence", "CC0-1.0",
        "--json",
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    path = open_store(json.loads(result.stdout.splitlines()[-1])["store"]).path
    (producer,) = producers_of(path)
    assert (producer["features_of"], restrictions(path)) == ("4,096-dim CNN", [])
    assert "unknown" not in result.stderr


class Bomb:
    """A pickle that would write a file where it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("form", ["object array", "bare pickle", "archive"])
def test_nothing_is_unpickled(tmp_path, form):
    """MMRec's own folders hold pickles: ``user_graph_dict.npy``."""
    source, mark = tmp_path / "m", tmp_path / "exploded"
    source.mkdir()
    path = source / "image_feat.npy"
    if form == "object array":
        np.save(path, np.array([[Bomb(mark)]], dtype=object), allow_pickle=True)
    elif form == "bare pickle":
        path.write_bytes(pickle.dumps(Bomb(mark)))
    else:
        with path.open("wb") as file:
            np.savez(file, a=values())
    message = "Python objects, which stay pickled" if form == "object array" else "a NumPy array"
    with pytest.raises(DataError, match=message):
        imported(source, "mmrec", tmp_path / "c")
    assert not mark.exists()
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(6).reshape(3, 2), r"found int64 \(3, 2\)"),
        (np.ones(3, np.float32), r"found float32 \(3,\)"),
        (np.float32(1), r"found float32 \(\)"),
        (np.ones((3, 0), np.float32), "expected"),
        (np.ones((3, 2), np.complex64), r"found complex64 \(3, 2\)"),
        (np.ones((2, 2), np.float32), "2 rows for the 3 ids .*: item 3, 'c', has no features"),
        (np.ones((4, 2), np.float32), "4 rows for the 3 ids of .*i_id_mapping.csv"),
    ],
)
def test_what_is_no_row_for_each_item_is_named(tmp_path, array, message):
    with pytest.raises(DataError, match=message):
        imported(saved(tmp_path / "m", array, "abc"), "mmrec", tmp_path / "c")


@pytest.mark.parametrize("cut", [0, 5, 60, -1])
def test_a_file_that_was_cut_off_is_named(tmp_path, cut):
    source = saved(tmp_path / "m", values(), "abcde")
    path = source / "image_feat.npy"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"image_feat\.npy: expected a NumPy array"):
        imported(source, "mmrec", tmp_path / "c")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("asin\titemID\nx\t0\ny\t0\n", "column itemID, row 2: expected each once, found '0'"),
        ("asin\titemID\nx\t0\nx\t1\n", "column asin, row 2: expected each once, found 'x'"),
        ("asin\titemID\nx\t1\ny\t2\n", "expected itemID from 0 to 1 once each, found none with 0"),
        ("asin\tnumber\nx\t0\ny\t1\n", "expected a table with the column itemID"),
        ("", "expected a table with a header, found nothing"),
    ],
)
def test_a_mapping_that_is_none_is_named(tmp_path, mapping, message):
    source = saved(tmp_path / "m", values(2))
    (source / "i_id_mapping.csv").write_text(mapping)
    with pytest.raises(DataError, match=message):
        imported(source, "mmrec", tmp_path / "c")


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from(["C", "F"]),
    st.integers(1, 40),
    st.data(),
)
def test_blocks_of_any_size_give_every_row_to_its_item(
    tmp_path_factory, rows, layers, dim, order, block_bytes, data
):
    ids = data.draw(st.permutations([f"i{row}" for row in range(rows)]))
    array = np.asarray(
        np.arange(rows * layers * dim, dtype=np.float32).reshape(rows, layers, dim), order=order
    )
    folder = saved(tmp_path_factory.mktemp("m"), array, ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK_BYTES", block_bytes)
        items = list(arrays.mmrec_rows(folder, "image", None).items())
    assert [name for name, _ in items] == sorted(ids)
    for name, states in items:
        assert states.dtype == np.float32
        np.testing.assert_array_equal(states, array[ids.index(name)])
