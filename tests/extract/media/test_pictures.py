"""Pictures whose pixels are all there are read, whatever is wrong beside them; others are not."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from crossan.extract.media import MediaError, decode_image
from support.counts import of_full

# Pillow warns of odd metadata; the product ignores it for the whole process, which pytest undoes.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SHARED = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def pixels():
    y, x = np.mgrid[0:48, 0:64]
    noise = np.random.default_rng(0).integers(0, 30, (48, 64, 3))
    return (np.stack([x * 3, y * 4, 200 - x * 3], -1) + noise).astype(np.uint8)


def encoded(kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels()).save(file, kind, **options)
    return file.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def png_chunk(kind, body, checksum=None):
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def webp_chunk(kind, body):
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_chunks(*chunks):
    """Return a PNG with chunks behind its IHDR, which ends at byte 33."""
    plain = encoded("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def with_segments(*segments):
    plain = encoded("JPEG")
    return plain[:2] + b"".join(segments) + plain[2:]


def with_webp_chunks(*chunks, size=None):
    """Return an extended WebP with chunks behind its picture, and VP8X announcing them."""
    extended = webp_chunk(b"VP8X", bytes([0x2C, 0, 0, 0, 63, 0, 0, 47, 0, 0]))
    content = b"WEBP" + extended + encoded("WEBP")[12:] + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content) if size is None else size) + content


def read(tmp_path, data):
    (tmp_path / "picture").write_bytes(data)
    return np.asarray(decode_image(tmp_path / "picture"))


def packed(size):
    return zlib.compress(bytes(size))


ODD = {
    "a text of 3 MB": lambda: with_chunks(png_chunk(b"zTXt", b"a\0\0" + packed(3_000_000))),
    "texts of 70 MB": lambda: with_chunks(*[png_chunk(b"zTXt", b"a\0\0" + packed(10**6))] * 70),
    "a profile of 9 MB": lambda: with_chunks(png_chunk(b"iCCP", b"a\0\0" + packed(9_000_000))),
    "an unknown packing": lambda: with_chunks(png_chunk(b"zTXt", b"a\0\5text")),
    "a broken EXIF": lambda: with_chunks(png_chunk(b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03")),
    "EXIF with a wrong checksum": lambda: with_chunks(png_chunk(b"eXIf", exif(6), checksum=5)),
    "a text with a wrong checksum": lambda: with_chunks(png_chunk(b"tEXt", b"a\0b", checksum=1)),
    "a wrong checksum at the end": lambda: (
        encoded("PNG")[:-12] + png_chunk(b"tEXt", b"a\0b", checksum=1) + png_chunk(b"IEND", b"")
    ),
    "a text that is cut off": lambda: encoded("PNG")[:-12] + png_chunk(b"tEXt", bytes(99))[:50],
    "EXIF in text": lambda: with_chunks(
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  1\nzz"))
    ),
    **{
        f"an empty {kind.decode()}": lambda kind=kind: with_chunks(png_chunk(kind, b""))
        for kind in (b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"tRNS", b"tIME", b"acTL", b"fcTL")
    },
    "no end of a PNG": lambda: encoded("PNG")[:-12],
    "no end of a JPEG": lambda: encoded("JPEG")[:-2],
    "half an end of a JPEG": lambda: encoded("JPEG")[:-1],
    "no end of a progressive JPEG": lambda: encoded("JPEG", progressive=True)[:-2],
    "no end of a JPEG with restarts": lambda: encoded("JPEG", restart_marker_rows=1)[:-2],
    "no end of a GIF": lambda: encoded("GIF")[:-1],
    "JFIF cut short": lambda: with_segments(segment(0xE0, b"JFIF\0\1")),
    "Adobe cut short": lambda: with_segments(segment(0xEE, b"Adobe")),
    "EXIF of noise": lambda: with_segments(segment(0xE1, b"Exif\0\0" + b"\xff" * 20)),
    "EXIF cut short": lambda: with_segments(segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")),
    "other pictures of noise": lambda: with_segments(segment(0xE2, b"MPF\0" + b"\1" * 30)),
    "a profile of nothing": lambda: with_segments(segment(0xE2, b"ICC_PROFILE\0")),
    "a broken resource": lambda: with_segments(segment(0xED, b"Photoshop 3.0\x008BIM\xff\xff")),
    "2 MB of comments": lambda: with_segments(*[segment(0xFE, b"x" * 65_000)] * 32),
    "a length of zero": lambda: with_segments(b"\xff\xe5\0\0"),
    "a length too short": lambda: with_segments(b"\xff\xe1\0\x08Exif\0\0" + b"junk" * 10),
    "noise before a marker": lambda: with_segments(b"\0\1\2\3"),
    "noise behind a JPEG": lambda: encoded("JPEG") + b"noise" * 100,
    "a broken EXIF in WebP": lambda: with_webp_chunks(webp_chunk(b"EXIF", b"\xff" * 9)),
    "a broken profile in WebP": lambda: with_webp_chunks(webp_chunk(b"ICCP", b"\xff" * 9)),
    "XMP cut off in WebP": lambda: with_webp_chunks(webp_chunk(b"XMP ", b"\xff" * 90)[:50]),
    "WebP that claims more": lambda: with_webp_chunks(size=1_000_000),
    "WebP that claims less": lambda: with_webp_chunks(size=20),
}


@pytest.mark.parametrize("name", ODD)
def test_what_stands_beside_the_pixels_does_not_matter(tmp_path, name):
    data = ODD[name]()
    kind = {b"\x89P": "PNG", b"\xff\xd8": "JPEG", b"RI": "WEBP", b"GI": "GIF"}[data[:2]]
    options = {"progressive": True} if "progressive" in name else {}
    options |= {"restart_marker_rows": 1} if "restarts" in name else {}
    assert np.array_equal(read(tmp_path, data), read(tmp_path, encoded(kind, **options)))


def test_an_orientation_is_seen_beside_metadata_that_is_broken(tmp_path):
    bad = png_chunk(b"tEXt", b"a\0b", checksum=1)
    turned = read(tmp_path, with_chunks(bad, png_chunk(b"eXIf", exif(6))))
    assert np.array_equal(turned, np.rot90(pixels(), -1))
    upright = read(tmp_path, with_segments(segment(0xE1, b"Exif\0\0" + exif(8)[6:])))
    both = segment(0xE0, b"JFIF\0\1"), segment(0xE1, b"Exif\0\0" + exif(8)[6:])
    assert np.array_equal(read(tmp_path, with_segments(*both)), upright)
    assert upright.shape == (64, 48, 3)


@settings(max_examples=of_full(60, 20), **SHARED)
@given(st.data())
def test_any_metadata_may_stand_beside_the_pixels(tmp_path, data):
    bodies = st.binary(max_size=60)
    kinds = [b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"pHYs", b"acTL", b"tRNS", b"prVt"]
    chunks = st.builds(png_chunk, st.sampled_from(kinds), bodies, st.sampled_from([None, 1]))
    segments = st.builds(
        segment,
        st.sampled_from([*range(0xE1, 0xF0), 0xFE]),
        st.sampled_from([b"", b"Exif\0\0", b"MPF\0MM\0*", b"ICC_PROFILE\0"]).flatmap(
            lambda name: bodies.map(name.__add__)
        ),
    )
    webp = st.builds(webp_chunk, st.sampled_from([b"EXIF", b"XMP ", b"ICCP", b"oddl"]), bodies)
    kind, make, parts = data.draw(
        st.sampled_from(
            [
                ("PNG", with_chunks, chunks),
                ("JPEG", with_segments, segments),
                ("WEBP", with_webp_chunks, webp),
            ]
        )
    )
    shown = read(tmp_path, make(*data.draw(st.lists(parts, min_size=1, max_size=4))))
    # A valid orientation may come up by chance, and turns the picture.
    plain = read(tmp_path, encoded(kind))
    turns = [np.rot90(side, k) for side in (plain, plain[:, ::-1]) for k in range(4)]
    assert any(np.array_equal(shown, turned) for turned in turns)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_rows": 1, "quality": 95}),
        ("JPEG", {"subsampling": "4:4:4", "optimize": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_a_picture_that_lacks_pixels_is_never_read_as_another(tmp_path, kind, options):
    whole = encoded(kind, **options)
    picture = read(tmp_path, whole)
    # Every cut near the end, where little is missing, and a choice of the others.
    for cut in (*range(1, 40), *range(40, len(whole), 83)):
        with suppress(MediaError):
            assert np.array_equal(read(tmp_path, whole[:-cut]), picture), cut


def test_a_picture_of_several_is_the_first(tmp_path):
    other = [Image.new("RGB", (9, 9))]
    for kind in ("TIFF", "MPO"):
        data = encoded(kind, save_all=True, append_images=other)
        plain = read(tmp_path, encoded("JPEG" if kind == "MPO" else kind))
        assert np.array_equal(read(tmp_path, data), plain)


def test_a_bomb_stays_a_bomb_beside_broken_metadata(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bad = png_chunk(b"tEXt", b"a\0b", checksum=1)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + bad + png_chunk(b"IEND", b"")
    with pytest.raises(MediaError, match="too-many-pixels"):
        read(tmp_path, data)
