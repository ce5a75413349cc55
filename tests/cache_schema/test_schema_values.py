"""Canonical JSON, identity and array layout as values: round trips, and what they refuse."""

from __future__ import annotations

import copy
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema import (
    ArrayLayout,
    Modality,
    StoreIdentity,
    canonical_bytes,
    chunk_item_count,
    parse_object,
    pretty_bytes,
)
from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, UsageError


def identity(**fields):
    plain = {
        "modality": Modality.IMAGE,
        "backbone": {"id": "google/vit"},
        "inputs": {"size": [224, 224]},
        "capture": {"layers": (0, 2, 4), "pooling": "cls"},
        "dim": 768,
    }
    return StoreIdentity(**{**plain, **fields})


def test_canonical_json_is_sorted_dense_and_utf8():
    assert canonical_bytes({"b": [1, 0.5], "a": "é"}) == '{"a":"é","b":[1,0.5]}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_bytes(float("nan"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.dictionaries(st.text(), x),
    )
)
def test_written_json_reads_back(value):
    try:
        data = pretty_bytes({"value": value})
    except UnicodeEncodeError:  # lone surrogates are no UTF-8
        return
    assert parse_object(data, "x.json") == {"value": value}


@pytest.mark.parametrize("levels", [1, 63, 64, 65, 500, 900, 20_000])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_values_are_nested_in_up_to_64_levels(levels, opened, closed):
    """Deeper ones take the stack of whatever writes, copies or compares them."""
    inner = opened * (levels - 1) + "1" + closed * (levels - 1)
    data = f'{{"a": {inner}, "b": "{"[" * 100}", "c": {[[]] * 100}}}'.encode()
    if levels <= 64:
        assert parse_object(data, "x.json")["b"] == "[" * 100
    else:
        with pytest.raises(StoreIntegrityError, match=r"x\.json: .*nested"):
            parse_object(data, "x.json")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"[1]", "found list"),
        (b'{"a": 1, "a": 2}', "a key is repeated"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"\xff{}", "2 bytes|3 bytes"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1e999}', "1e999 is beyond the range of a float"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "Exceeds the limit"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"\\uDFFF": 1}', "surrogates not allowed"),
        (b'{"a": 1} ' * 2, "Extra data"),
    ],
)
def test_what_is_no_json_object_is_refused(data, found):
    with pytest.raises(StoreIntegrityError, match=f"x.json: expected one JSON object.*({found})"):
        parse_object(data, "x.json")


def test_a_pair_of_surrogates_is_one_character():
    assert parse_object(b'{"a": "\\ud83d\\udca5"}', "x.json") == {"a": "\U0001f4a5"}


def test_a_file_beyond_the_bound_is_not_parsed(monkeypatch):
    monkeypatch.setattr("crossan.cache_schema.canonical.LARGEST_FILE", 10)
    with pytest.raises(StoreIntegrityError, match="expected at most 10 bytes, found 12"):
        parse_object(b'{"a": "abc"}', "x.json")


def test_identity_reads_back_from_its_own_json():
    made = identity()
    assert StoreIdentity.from_dict(parse_object(pretty_bytes(made.to_dict()), "s")) == made
    assert made.layers == (0, 2, 4)


def test_fingerprint_is_the_digest_of_everything_but_the_codec():
    made = identity()
    content = (
        '{"backbone":{"id":"google/vit"},"capture":{"layers":[0,2,4],"pooling":"cls"},"dim":768,'
        '"inputs":{"size":[224,224]},"modality":"image","schema_version":1,"stored_dtype":"float16"}'
    )
    assert made.fingerprint == hashlib.sha256(content.encode()).hexdigest()
    assert identity(codec="zstd").fingerprint == made.fingerprint


@pytest.mark.parametrize(
    "fields",
    [
        {"modality": Modality.VIDEO},
        {"backbone": {"id": "other"}},
        {"inputs": {}},
        {"capture": {"layers": [0, 2, 4], "pooling": "mean"}},
        {"stored_dtype": "float32"},
        {"dim": 769},
    ],
)
def test_fingerprint_changes_with_every_field(fields):
    assert identity(**fields).fingerprint != identity().fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"stored_dtype": "int8"},
            "stored dtype: expected one of float16, float32, bfloat16, found 'int8'",
        ),
        ({"codec": "gzip"}, "codec: expected one of raw, zstd, blosc, found 'gzip'"),
        (
            {"capture": {"layers": [2, 0]}},
            r"kept layers: expected increasing layer numbers from 0, found \[2, 0\]",
        ),
        ({"capture": {"layers": []}}, "kept layers"),
        ({"capture": {"layers": [True]}}, "kept layers"),
        ({"dim": 0}, "dim: expected a row of 1 to 67,108,864 bytes, found 3 layers of width 0"),
    ],
)
def test_identity_that_no_store_can_have_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        identity(**fields)


def test_store_json_of_another_version_or_form_is_refused():
    value = identity().to_dict()
    with pytest.raises(IncompatibleError, match=r"store\.json: expected schema version 1, found 2"):
        StoreIdentity.from_dict({**value, "schema_version": 2})
    with pytest.raises(StoreIntegrityError, match="missing: none, unknown: color"):
        StoreIdentity.from_dict({**value, "color": "red"})
    with pytest.raises(StoreIntegrityError, match="expected 'dim' to hold int, found '768'"):
        StoreIdentity.from_dict({**value, "dim": "768"})
    with pytest.raises(StoreIntegrityError, match=r"store\.json: .*not a valid Modality"):
        StoreIdentity.from_dict({**value, "modality": "smell"})


@pytest.mark.parametrize(
    ("row_bytes", "item_count", "expected"),
    [
        (
            7 * 768 * 2,
            100_000,
            1024,
        ),  # 10,752 = 21 * 512, so 128 items make whole pages; 1,024 = 8 * 128
        (
            7 * 768 * 2,
            19_738,
            768,
        ),  # 1,024 would pad by 742 items, 896 by 870; 768 pads by 230, 1.2 %
        (7 * 768 * 2, 3, 128),
        (7 * 768 * 2, 129, 256),
        (
            13 * 1024 * 4,
            5_000,
            256,
        ),  # 53,248 = 13 * 4,096: 16 items; 304, 288 and 272 pad by more than 156
        (192, 5_000, 1024),  # 192 = 3 * 64: exactly 1,024 items
        (
            2,
            5_000,
            1024,
        ),  # 32,768 items would make a page: more than a chunk holds, so the page rule gives way
        (2, 5, 5),
        (40_000_000, 5, 1),
        (65_536, 0, 1),
    ],
)
def test_chunk_item_count_known_answers(row_bytes, item_count, expected):
    assert chunk_item_count(row_bytes, item_count) == expected


@settings(deadline=None)  # trying all takes its time on a busy machine
@given(st.integers(1, 200_000), st.integers(0, 3_000))
def test_chunk_item_count_agrees_with_trying_all(row_bytes, item_count):
    allowed = [n for n in range(1, 1025) if n * row_bytes <= 16 * 2**20]
    paged = [n for n in allowed if n * row_bytes % 65_536 == 0] or allowed
    padding = {n: next(p for p in range(n) if (max(item_count, 1) + p) % n == 0) for n in paged}
    tight = [n for n in paged if 32 * padding[n] <= item_count]
    slow = max(tight or [n for n in paged if padding[n] == min(padding.values())])
    assert chunk_item_count(row_bytes, item_count) == slow


def layout(**fields):
    plain = {
        "item_count": 300,
        "chunk_items": 128,
        "layer_count": 7,
        "dim": 768,
        "stored_dtype": "float16",
        "codec": "raw",
    }
    return ArrayLayout(**{**plain, **fields})


@pytest.mark.parametrize("codec", ["raw", "zstd", "blosc"])
@pytest.mark.parametrize("stored_dtype", ["float16", "float32", "bfloat16"])
def test_layout_reads_back_from_its_own_json(codec, stored_dtype):
    made = layout(codec=codec, stored_dtype=stored_dtype)
    assert ArrayLayout.from_zarr(parse_object(pretty_bytes(made.to_zarr()), "z"), "z") == made
    assert made.chunk_count == 3  # 128 + 128 + 44


def _set(path, new):
    def change(value):
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = new

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _set(["codecs", 0, "name"], "pickle"),
            "expected the codecs of one of raw, zstd, blosc, found",
        ),
        (_set(["codecs"], []), "expected the codecs"),
        (_set(["zarr_format"], 2), "expected zarr_format to be 3, found 2"),
        (_set(["node_type"], "group"), "expected node_type"),
        (_set(["data_type"], "object"), "expected data_type to be 'float16'"),
        (
            _set(["storage_transformers"], [{"name": "sharding"}]),
            "expected storage_transformers to be 'left out'",
        ),
        (_set(["shape"], [300, 7]), "expected shape to be three counts"),
        (_set(["shape", 0], -1), "expected shape to be three counts"),
        (
            _set(["chunk_grid", "configuration", "chunk_shape"], [9999, 7, 768]),
            "expected chunks of 1 to 67,108,864",
        ),
        (
            _set(["chunk_grid", "configuration", "chunk_shape"], [128, 1, 768]),
            "expected chunk_grid",
        ),
        (
            _set(["chunk_key_encoding", "configuration", "separator"], "/../"),
            "expected chunk_key_encoding",
        ),
        (_set(["attributes", "crossan_stored_dtype"], "O"), "expected a stored dtype among"),
    ],
)
def test_metadata_off_the_allow_list_is_refused(change, message):
    value = copy.deepcopy(layout().to_zarr())
    change(value)
    with pytest.raises(StoreIntegrityError, match=f"here/zarr.json: {message}"):
        ArrayLayout.from_zarr(value, "here/zarr.json")
