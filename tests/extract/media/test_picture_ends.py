"""A picture whose file lacks the end is said to be cut, whatever its decoder calls that."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from crossan.extract.media import MediaError, MediaFault, decode_image
from crossan.extract.media.picture_ends import lacks_end
from support.counts import of_full

# Pillow warns of odd metadata; the product ignores it for the whole process, which pytest undoes.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LAYOUTS = [
    ("PNG", {}),
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": b"Exif\0\0II*\0" + bytes(99)}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
]
MAGICS = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF89a", b"BM", b"II*\0", b"MM\0*"]


def encoded(kind, options):
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "options"), LAYOUTS)
def test_a_cut_picture_is_truncated(tmp_path, kind, options):
    data, path = encoded(kind, options), tmp_path / "picture"
    path.write_bytes(data)
    whole = np.asarray(decode_image(path))
    assert not lacks_end(data)
    for size in {*range(8, 40), *range(40, len(data), 37), *range(len(data) - 12, len(data))}:
        path.write_bytes(data[:size])
        try:
            is_right = np.array_equal(np.asarray(decode_image(path)), whole)
        except MediaError as error:
            is_right = error.reason is MediaFault.TRUNCATED
        assert is_right, size


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_damaged_picture_with_its_end_is_not_truncated(tmp_path, kind):
    data = bytearray(encoded(kind, {"lossless": True} if kind == "WEBP" else {}))
    data[60:90] = bytes(30)
    (tmp_path / "picture").write_bytes(data)
    with pytest.raises(MediaError, match="corrupt"):
        decode_image(tmp_path / "picture")


@settings(
    max_examples=of_full(200, 67),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(MAGICS), st.binary(max_size=80), st.data())
def test_any_bytes_are_judged(magic, rest, data):
    assert lacks_end(magic + rest) in (True, False)
    content = bytearray(encoded(*data.draw(st.sampled_from(LAYOUTS))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert lacks_end(bytes(content)) in (True, False)
