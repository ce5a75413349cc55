"""Grey of more than 8 bits is scaled by a stated range, or refused: it is never clipped."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from crossan.extract.media import MediaError, decode_image
from support.counts import of_full

UNSIGNED, SIGNED, FLOAT = 1, 2, 3


def tiff(values, *, bits, sample_format=UNSIGNED, photometric=1):
    """Write a TIFF by hand, of grey ``values`` (height, width), whose strip is ``values``' bytes."""
    height, width = values.shape
    data = pack_12_bits(values) if bits == 12 else values.tobytes()
    tags = [
        (256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8),
        (277, 1), (278, height), (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    # Each entry: tag, type 4 (32 bit integer) or 3 (16 bit), one value, which stands in the entry.
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (256, 257, 273, 278, 279) else 3, 1, value)
        for tag, value in tags
    )
    data += b"\0" * (len(data) % 2)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory


def pack_12_bits(values):
    pairs = values.reshape(-1, 2).astype(int)
    packed = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
    return np.stack(packed, -1).astype(np.uint8).tobytes()


def shades(tmp_path, data):
    (tmp_path / "picture").write_bytes(data)
    picture = np.asarray(decode_image(tmp_path / "picture"))
    assert (picture[..., 0] == picture[..., 1]).all()
    assert (picture[..., 0] == picture[..., 2]).all()
    return picture[..., 0]


RAMP = np.arange(256).reshape(16, 16)
"""A gradient from black to white, as 8 bits show it."""


@pytest.mark.parametrize(
    ("values", "layout"),
    [
        (RAMP * 257, {"bits": 16, "dtype": "<u2"}),
        (RAMP * 4095 / 255, {"bits": 12, "dtype": "<u2"}),
        (RAMP * 32767 / 255, {"bits": 16, "dtype": "<i2", "sample_format": SIGNED}),
        (RAMP * 16_843_009, {"bits": 32, "dtype": "<u4"}),
        (RAMP * (2**31 - 1) / 255, {"bits": 32, "dtype": "<i4", "sample_format": SIGNED}),
        (RAMP / 255, {"bits": 32, "dtype": "<f4", "sample_format": FLOAT}),
        ((255 - RAMP) * 257, {"bits": 16, "dtype": "<u2", "photometric": 0}),
        (1 - RAMP / 255, {"bits": 32, "dtype": "<f4", "sample_format": FLOAT, "photometric": 0}),
    ],
)
def test_a_gradient_stays_a_gradient(tmp_path, values, layout):
    layout = dict(layout)
    values = values.astype(layout.pop("dtype"))
    shown = shades(tmp_path, tiff(values, **layout)).astype(int)
    assert np.abs(shown - RAMP).max() <= 1


@pytest.mark.parametrize(
    ("values", "layout", "message"),
    [
        (RAMP, {"bits": 32, "dtype": "<f4", "sample_format": FLOAT}, "floats from 0 to 1, got 0 to 255"),
        (RAMP / 255 - 0.1, {"bits": 32, "dtype": "<f4", "sample_format": FLOAT}, "got -0.1 to 0.9"),
        (RAMP * np.nan, {"bits": 32, "dtype": "<f4", "sample_format": FLOAT}, "got nan to nan"),
        (RAMP, {"bits": 32, "dtype": "<u4"}, "integers up to 4,294,967,295, got 0 to 255"),
        (RAMP, {"bits": 32, "dtype": "<i4", "sample_format": SIGNED}, "integers up to 2,147,483,647"),
        (RAMP, {"bits": 16, "dtype": "<u2"}, "integers up to 65,535, got 0 to 255"),
        (RAMP // 2, {"bits": 16, "dtype": "<i2", "sample_format": SIGNED}, "32,767, got 0 to 127"),
        (RAMP // 16, {"bits": 12, "dtype": "<u2"}, "integers up to 4,095, got 0 to 15"),
        (RAMP, {"bits": 16, "dtype": "<u2", "photometric": 0}, "got 0 to 255"),
        (RAMP - 9, {"bits": 16, "dtype": "<i2", "sample_format": SIGNED}, "0 to 32,767, got -9 to 246"),
    ],
)  # fmt: skip
def test_a_picture_that_does_not_say_what_white_is_is_refused(tmp_path, values, layout, message):
    layout = dict(layout)
    values = values.astype(layout.pop("dtype"))
    with pytest.raises(MediaError, match=f"unknown-scale: expected .*{message}"):
        shades(tmp_path, tiff(values, **layout))


@pytest.mark.parametrize(("bits", "dtype"), [(16, "<i2"), (32, "<i4")])
def test_black_of_any_bits_is_black(tmp_path, bits, dtype):
    black = tiff(np.zeros((4, 4), dtype), bits=bits, sample_format=SIGNED)
    assert not shades(tmp_path, black).any()


def png(values, colour):
    """Write a PNG of 16 bits, ``values`` (height, width, channel)."""

    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def coloured_tiff(values, order):
    """Write a TIFF of 16 bits, ``values`` (height, width, 3)."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    bits_at = 8 + len(data)
    tags = [
        (256, 1, width), (257, 1, height), (258, 3, bits_at), (259, 1, 1), (262, 1, 2),
        (273, 1, 8), (277, 1, channels), (278, 1, height), (279, 1, len(data)),
    ]  # fmt: skip
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 3 if number == 3 else 4, number, value)
        for tag, number, value in tags
    )  # fmt: skip
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, bits_at + 6)
    bits = struct.pack(f"{order}3H", 16, 16, 16)
    return head + data + bits + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


DEEP = {
    "colour": lambda values: png(values[..., :3], 2),
    "grey with transparency": lambda values: png(values[..., [0, 3]], 4),
    "colour with transparency": lambda values: png(values, 6),
    "little-endian TIFF": lambda values: coloured_tiff(values[..., :3], "<"),
    "big-endian TIFF": lambda values: coloured_tiff(values[..., :3], ">"),
}


@pytest.mark.parametrize("name", DEEP)
def test_colours_of_16_bits_that_would_all_be_black_are_refused(tmp_path, name):
    path = tmp_path / "picture"
    grey = np.dstack([RAMP, RAMP, RAMP, np.full_like(RAMP, 65_535)])
    path.write_bytes(DEEP[name](grey))
    with pytest.raises(MediaError, match="unknown-scale: expected integers up to 65,535, got 0 to"):
        decode_image(path)
    grey[..., :3] *= 257
    assert np.array_equal(shades(tmp_path, DEEP[name](grey)), RAMP)
    grey[..., :3] = 0
    assert not shades(tmp_path, DEEP[name](grey)).any()


def test_a_picture_of_floats_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray((RAMP / 255).astype(np.float32)).save(tmp_path / "a.tif", exif=exif)
    shown = np.asarray(decode_image(tmp_path / "a.tif"))[..., 0]
    assert np.array_equal(shown, RAMP[::-1, ::-1])


@settings(
    max_examples=of_full(40, 15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(hnp.arrays("<u2", hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)))
def test_sixteen_bits_are_scaled_as_exact_fractions(tmp_path, values):
    expected = [[int(value) * 255 // 65_535 for value in row] for row in values]
    if values.any() and not np.any(expected):
        with pytest.raises(MediaError, match="unknown-scale"):
            shades(tmp_path, tiff(values, bits=16))
    else:
        assert shades(tmp_path, tiff(values, bits=16)).tolist() == expected


@settings(
    max_examples=of_full(40, 15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    hnp.arrays("<f4", (2, 3), elements=st.floats(width=32)),
)
def test_floats_are_in_range_or_refused(tmp_path, values):
    data = tiff(values, bits=32, sample_format=FLOAT)
    if all(0 <= value <= 1 for value in values.flat):
        assert shades(tmp_path, data).tolist() == np.rint(values * 255).tolist()
    else:
        with pytest.raises(MediaError, match="unknown-scale"):
            shades(tmp_path, data)
