"""Encoding to the stored dtypes, and the folders stores lie in."""

from __future__ import annotations

import struct
from dataclasses import replace

import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, UsageError
from crossan.cache_schema.layout import ArrayLayout
from crossan.cache_schema.modality import Modality
from crossan.cache_schema.segment import FileEntry
from crossan.common.stores import create_store, encode_rows, find_stores, read_canary, store_folder
from crossan.common.stores.checksums import crc32c
from crossan.common.stores.chunk_file import ChunkFile
from crossan.common.stores.mapping import map_chunks
from crossan.common.stores.packed_frames import check_frame
from crossan.common.stores.values import decode_rows
from support.earlier_chunks import earlier_payload, sealed


def rows_of(*values):
    return np.array(values, np.float32).reshape(1, len(values), 1)


@pytest.mark.parametrize(
    ("stored_dtype", "rows", "problem"),
    [
        ("float16", rows_of(1, -65_504), None),
        ("float16", rows_of(1, 70_123), "overflow in layer 1: 70,123 > 65,504"),
        (
            "float16",
            rows_of(-65_520, 1),
            "overflow in layer 0: 65,520 > 65,504",
        ),  # rounds to infinity
        ("float16", rows_of(65_519, 1), None),  # rounds to 65,504
        ("float16", rows_of(1, np.nan), "NaN in layer 1"),
        ("float16", rows_of(np.inf, np.nan), "infinity in layer 0"),
        ("float32", rows_of(3e38, 1), None),
        ("float32", rows_of(1, np.nan), "NaN in layer 1"),
        ("bfloat16", rows_of(3.4e38, 1), "overflow in layer 0: 3.4e+38 > 3.38953e+38"),
        ("bfloat16", rows_of(70_123, 1), None),
    ],
)
def test_values_that_do_not_fit_are_named(stored_dtype, rows, problem):
    assert encode_rows(rows, stored_dtype)[1] == [problem]


def test_problems_name_the_kept_layer_and_only_their_item():
    rows = np.ones((3, 2, 4), np.float32)
    rows[1, 1, 2] = np.nan
    assert encode_rows(rows, "float16", layers=(0, 12))[1] == [None, "NaN in layer 12", None]
    assert encode_rows(rows[:0], "float16")[1] == []


def test_unknown_dtype_is_refused():
    with pytest.raises(
        UsageError, match="expected one of float16, float32, bfloat16, found 'int8'"
    ):
        encode_rows(rows_of(1), "int8")


@given(
    st.floats(
        width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**120), max_value=2.0**120
    )
)
def test_bfloat16_is_the_nearest_with_ties_to_even(value):
    stored, _ = encode_rows(rows_of(value), "bfloat16")
    found = decode_rows(stored, "bfloat16")[0, 0, 0]
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    around = [
        struct.unpack("<f", struct.pack("<I", (bits >> 16 << 16) + step))[0]
        for step in (0, 1 << 16)
    ]
    nearest = min(
        around,
        key=lambda x: (abs(x - value), struct.unpack("<I", struct.pack("<f", x))[0] >> 16 & 1),
    )
    assert found == np.float32(nearest)


def test_bfloat16_nan_has_one_spelling():
    assert encode_rows(rows_of(np.nan), "bfloat16")[0].item() == 0x7FC0


def test_crc32c_known_answer():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32/ISCSI
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283
    assert crc32c(b"") == 0


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_crc32c_is_the_division_bit_by_bit(before, data):
    remainder = 0xFFFFFFFF
    for byte in before + data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    writable = memoryview(bytearray(data))
    assert crc32c(writable, crc32c(before)) == remainder ^ 0xFFFFFFFF


def chunk_of(tmp_path, data, layout):
    path = tmp_path / "hidden_states/c/0/0/0"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    entry = FileEntry("hidden_states/c/0/0/0", len(data), "0" * 64, crc32c(data[:-4]))
    rows = map_chunks([ChunkFile(tmp_path, entry, layout)])
    rows.check(0)
    return rows.chunk(0)


def tiny_layout(codec):
    return ArrayLayout(
        item_count=4, chunk_items=4, layer_count=3, dim=8, stored_dtype="float16", codec=codec
    )


def tiny_rows():
    return np.random.default_rng(0).normal(size=(4, 3, 8)).astype(np.float16)


@pytest.mark.parametrize("codec", ["raw", "zstd", "blosc"])
def test_chunk_reads_back(tmp_path, codec):
    data = sealed(earlier_payload(tiny_rows(), codec))
    found = chunk_of(tmp_path, data, tiny_layout(codec))
    np.testing.assert_array_equal(found, tiny_rows())
    assert not found.flags.writeable


def test_a_chunk_with_padding_rows_is_read_whole(tmp_path):
    layout = replace(tiny_layout("zstd"), item_count=1)
    found = chunk_of(tmp_path, sealed(earlier_payload(tiny_rows(), "zstd")), layout)
    np.testing.assert_array_equal(found, tiny_rows())


@pytest.mark.parametrize("codec", ["zstd", "blosc"])
def test_bomb_is_refused_before_it_is_decoded(tmp_path, codec):
    data = sealed(earlier_payload(np.zeros((99_999, 3, 8), np.float16), codec))
    with pytest.raises(
        StoreIntegrityError, match="expected to decode to 192 bytes, found 4,799,952"
    ):
        chunk_of(tmp_path, data, tiny_layout(codec))


@pytest.mark.parametrize("codec", ["zstd", "blosc"])
@pytest.mark.parametrize(
    "changed",
    [
        lambda frame: b"abc",
        lambda frame: frame[:-20],
        lambda frame: frame + frame,  # a decoder adds up what both claim
        lambda frame: frame + b"\0",
        lambda frame: frame[:4] + b"\0" * 200_000,  # of zstd: blocks without end
    ],
    ids=["no-header", "torn", "twice", "longer", "zeros"],
)
def test_a_payload_that_is_not_one_whole_frame_is_refused(tmp_path, codec, changed):
    data = sealed(changed(earlier_payload(tiny_rows(), codec)))
    with pytest.raises(StoreIntegrityError, match=f"expected one whole {codec} frame, found"):
        chunk_of(tmp_path, data, tiny_layout(codec))


@given(st.integers(1, 400_000), st.integers(0, 255), st.booleans(), st.booleans())
@settings(deadline=None)
def test_a_frame_of_an_encoder_is_always_one_whole_frame(size, byte, is_random, has_checksum):
    content = np.full(size, byte, np.uint8)
    if is_random:
        content = np.random.default_rng(byte).integers(0, 255, size, np.uint8)
    frame = memoryview(bytes(numcodecs.Zstd(level=5, checksum=has_checksum).encode(content)))
    layout = ArrayLayout(
        item_count=1, chunk_items=1, layer_count=1, dim=size, stored_dtype="float16", codec="zstd"
    )
    with pytest.raises(StoreIntegrityError, match=f"{2 * size:,} bytes, found {size:,}$"):
        check_frame(frame, layout, "here")


def test_frame_with_a_damaged_middle_is_refused(tmp_path):
    frame = bytearray(earlier_payload(tiny_rows(), "zstd"))
    layout = tiny_layout("zstd")
    rows = np.zeros((4, 3, 8), np.float16)
    rows[::2] = 1
    frame = bytearray(earlier_payload(rows, "zstd"))
    frame[-3] ^= 0xFF
    with pytest.raises(StoreIntegrityError, match="expected zstd data, found what does not decode"):
        chunk_of(tmp_path, sealed(bytes(frame)), layout)


def test_chunk_of_wrong_length_is_refused(tmp_path):
    with pytest.raises(StoreIntegrityError, match="expected 192 bytes of rows, found 190"):
        chunk_of(tmp_path, sealed(bytes(190)), tiny_layout("raw"))
    with pytest.raises(
        StoreIntegrityError, match="expected a payload before the CRC32C, found 4 bytes"
    ):
        chunk_of(tmp_path, sealed(b""), tiny_layout("raw"))


def test_store_folder_names_dataset_modality_and_backbone(make_identity, tmp_path):
    identity = make_identity(backbone={"id": "google/vit-base"}, modality=Modality.IMAGE)
    found = store_folder(tmp_path, "microlens-50k", identity)
    assert found == tmp_path / "microlens-50k" / "image" / f"vit-base-{identity.fingerprint[:12]}"


def test_the_names_of_local_checkpoints_tell_them_apart(make_identity, tmp_path):
    def of_weights(digest, **more):
        backbone = {"id": "local/local-bert", "weights_sha256": {"model.safetensors": digest}}
        return make_identity(backbone=backbone, **more)

    def checkpoint(identity):
        name = store_folder(tmp_path, "d", identity).name
        assert name.endswith(f"-{identity.fingerprint[:12]}")
        return name.removesuffix(f"-{identity.fingerprint[:12]}")

    one, other = of_weights("a" * 64), of_weights("b" * 64)
    assert checkpoint(one).startswith(f"local-bert-{one.dim}-")
    assert checkpoint(one) != checkpoint(other)
    # Another store of the same checkpoint shares its name.
    assert checkpoint(of_weights("a" * 64, stored_dtype="float32")) == checkpoint(one)


def test_a_store_of_a_local_checkpoint_that_has_an_earlier_name_keeps_it(make_identity, tmp_path):
    backbone = {"id": "local/local-bert", "weights_sha256": {"model.safetensors": "a" * 64}}
    identity = make_identity(backbone=backbone)
    named_now = store_folder(tmp_path, "d", identity)
    earlier = named_now.with_name(f"local-bert-{identity.fingerprint[:12]}")
    assert earlier != named_now
    create_store(earlier, identity, np.zeros((4, 3, 8), np.float32))
    assert store_folder(tmp_path, "d", identity) == earlier


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", ".", "", "ü", "x" * 300])
def test_names_never_leave_the_cache(make_identity, tmp_path, name):
    found = store_folder(tmp_path, name, make_identity(backbone={"id": name}))
    assert found.resolve().parent.parent.parent == tmp_path.resolve()
    assert len(found.name) < 128


def test_names_that_had_to_change_do_not_meet(make_identity, tmp_path):
    assert store_folder(tmp_path, "a/b", make_identity()) != store_folder(
        tmp_path, "a b", make_identity()
    )


def test_stores_are_found_by_dataset_and_modality(make_identity, tmp_path):
    folders = {}
    for dataset, modality in [("a", Modality.TEXT), ("a", Modality.AUDIO), ("b/c", Modality.TEXT)]:
        identity = make_identity(modality=modality)
        folder = store_folder(tmp_path, dataset, identity)
        create_store(folder, identity, np.zeros((4, 3, 8), np.float32))
        folders[dataset, modality] = folder
    assert find_stores(tmp_path) == sorted(folders.values())
    assert find_stores(tmp_path, "b/c") == [folders["b/c", Modality.TEXT]]
    assert find_stores(tmp_path, modality=Modality.AUDIO) == [folders["a", Modality.AUDIO]]
    assert find_stores(tmp_path / "nowhere") == []


def test_equal_store_is_joined_and_its_canary_kept(make_identity, tmp_path):
    canary = np.arange(96, dtype=np.float32).reshape(4, 3, 8)
    create_store(tmp_path, make_identity(), canary)
    create_store(tmp_path, make_identity(), canary + 1)
    np.testing.assert_array_equal(read_canary(tmp_path), canary)


def test_another_store_in_the_folder_is_refused(make_identity, tmp_path):
    canary = np.zeros((4, 3, 8), np.float32)
    create_store(tmp_path, make_identity(), canary)
    with pytest.raises(IncompatibleError, match="found one with another codec, inputs") as caught:
        create_store(tmp_path, make_identity(codec="zstd", inputs={}), canary)
    assert caught.value.exit_code == 5


def test_canary_of_another_shape_is_refused(make_identity, tmp_path):
    with pytest.raises(
        ValueError, match=r"expected a canary of shape \(4, 3, 8\), found \(3, 3, 8\)"
    ):
        create_store(tmp_path, make_identity(), np.zeros((3, 3, 8), np.float32))


def test_damaged_canary_is_named(store):
    path = store / "canary/features.npy"
    np.save(path, np.zeros((4, 3, 9), np.float32))
    with pytest.raises(StoreIntegrityError, match=r"features\.npy: expected float32 \(4, 3, 8\)"):
        read_canary(store)
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(
        StoreIntegrityError, match="expected a NumPy array: Object arrays cannot be loaded"
    ):
        read_canary(store)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (4, 3, 8)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3, 8)}",
        "{'descr': [('a', '<f4', (1000000000, 1000000000))], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': 5, 'fortran_order': False, 'shape': (1,)}",
        "(" * 900,
        "(" * 5_000,
        "{",
        "\0",
        "",
    ],
)
def test_canary_whose_header_lies_is_refused(begin_store, make_identity, header):
    folder = begin_store(make_identity())
    text = header.encode() + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(4 * 3 * 8 * 4)
    (folder / "canary/features.npy").write_bytes(data)
    with pytest.raises(StoreIntegrityError, match=r"features\.npy: expected"):
        read_canary(folder)


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04" + bytes(60), b"\x80\x04K\x01.", b"", b"\x93NUMPY\x09\x00"]
)
def test_canary_that_is_no_array_is_refused(begin_store, make_identity, data):
    folder = begin_store(make_identity())
    (folder / "canary/features.npy").write_bytes(data)
    with pytest.raises(StoreIntegrityError, match=r"features\.npy: expected a NumPy array"):
        read_canary(folder)
