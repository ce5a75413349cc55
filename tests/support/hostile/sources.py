"""Whole files of every kind, written by real codecs: what the mutations begin with."""

from __future__ import annotations

import io
import tempfile
from fractions import Fraction

import av
import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

KINDS = ("jpeg", "png", "webp", "mp4", "wav", "mp3", "flac")
SUFFIXES = {
    "jpeg": ".jpg",
    "png": ".png",
    "webp": ".webp",
    "mp4": ".mp4",
    "wav": ".wav",
    "mp3": ".mp3",
    "flac": ".flac",
}
COLUMNS = {
    kind: "video" if kind == "mp4" else "image" if kind in ("jpeg", "png", "webp") else "audio"
    for kind in KINDS
}
"""Which column of the items table a kind of file goes to."""


def sources_of(kind):
    """Return the seed files of one kind, the same bytes every time."""
    if kind in ("jpeg", "png", "webp"):
        return _pictures(kind)
    return _videos() if kind == "mp4" else _sounds(kind)


def _picture(mode, size=(96, 64)):
    shades = np.random.default_rng(len(mode)).integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
    shades[:, : size[0] // 2, 0] += 150
    picture = Image.fromarray(shades)
    if mode == "I;16":  # Pillow would leave 0 to 255, which is black on the scale of 16 bits
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return picture.convert(mode)


def _exif(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.ImageDescription] = "a description " * 20
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 96
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    return exif


def _pictures(kind):
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "compressed " * 200, zip=True)
    text.add_itxt("Title", "ünïcode", zip=True)
    orders = {
        "jpeg": [
            ("RGB", {"quality": 85}),
            ("RGB", {"quality": 60, "progressive": True, "exif": _exif(6)}),
            ("L", {"optimize": True, "restart_marker_rows": 1}),
            ("CMYK", {"quality": 70}),
            ("YCbCr", {"subsampling": 0, "icc_profile": b"not a profile" * 9}),
        ],
        "png": [
            ("RGB", {"pnginfo": text}),
            ("P", {"transparency": b"\x00\x01\x02"}),
            ("I;16", {}),
            ("LA", {"exif": _exif(3)}),
            ("1", {}),
            (
                "RGBA",
                {
                    "save_all": True,
                    "append_images": [_picture("RGBA")],
                    "duration": 40,
                    "default_image": True,
                },
            ),
        ],
        "webp": [
            ("RGB", {"quality": 80}),
            ("RGB", {"lossless": True, "exif": _exif(8)}),
            ("RGBA", {"quality": 50, "icc_profile": b"not a profile" * 9}),
            ("RGBA", {"save_all": True, "append_images": [_picture("RGB")], "duration": 40}),
        ],
    }
    written = []
    for mode, options in orders[kind]:
        file = io.BytesIO()
        _picture(mode).save(file, kind, **options)
        written.append(file.getvalue())
    return written


def _videos():
    return [
        write_video("libx264", sound="aac", movflags="faststart"),
        write_video("libx264", pixel_format="yuv444p"),
        write_video("mpeg4", sound="aac"),
        write_video("libx265", sound="libmp3lame", movflags="faststart"),
        write_video("libvpx-vp9", sound="libopus"),
        write_video("libx264", sound="aac", movflags="frag_keyframe+empty_moov+default_base_moof"),
        write_video("mjpeg", pixel_format="yuvj420p"),
    ]


_REPEATABLE = {
    "libx264": {"preset": "veryfast", "x264-params": "threads=1:lookahead-threads=1:mbtree=0"},
    "libx265": {"preset": "ultrafast", "x265-params": "pools=none:frame-threads=1:log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


def write_video(
    codec, *, size=(96, 64), frame_count=16, rate=5, pixel_format="yuv420p", sound=None, movflags=""
):
    """Return the bytes of an MP4 file of ``frame_count`` frames at ``rate`` per second."""
    flags = {"movflags": movflags} if movflags else {}
    with tempfile.NamedTemporaryFile(
        suffix=".mp4"
    ) as file:  # to move the header forward FFmpeg opens it by name
        _encode_video(file.name, flags, codec, size, frame_count, rate, pixel_format, sound)
        return file.read()


def _encode_video(path, flags, codec, size, frame_count, rate, pixel_format, sound):
    with av.open(path, "w", options={"fflags": "+bitexact", **flags}) as container:
        stream = container.add_stream(codec, rate=rate, options=_REPEATABLE.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        track = container.add_stream(sound, rate=48_000, layout="mono") if sound else None
        for number in range(frame_count):
            pixels = np.full((size[1], size[0], 3), (40 + number * 8) % 256, np.uint8)
            pixels[: size[1] // 2, : (number + 1) * size[0] // frame_count] = 200
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            _encode_sound(container, track, frame_count / rate, 48_000, 1)


def _sounds(kind):
    orders = {
        "wav": [
            ("pcm_s16le", 16_000, 1, 1.5),
            ("pcm_f32le", 44_100, 2, 0.6),
            ("pcm_u8", 8_000, 1, 3.5),
            ("adpcm_ms", 22_050, 2, 1.0),
            ("pcm_s24le", 48_000, 1, 0.5),
        ],
        "mp3": [
            ("libmp3lame", 16_000, 1, 3.5),
            ("libmp3lame", 44_100, 2, 1.2),
            ("libmp3lame", 48_000, 1, 0.5),
        ],
        "flac": [("flac", 16_000, 1, 1.5), ("flac", 48_000, 2, 0.7), ("flac", 8_000, 1, 3.5)],
    }
    return [_sound(kind, *order) for order in orders[kind]]


def _sound(kind, codec, rate, channels, seconds):
    file = io.BytesIO()
    with av.open(file, "w", format=kind, options={"fflags": "+bitexact"}) as container:
        container.metadata.update({"title": "a title", "artist": "somebody"})
        stream = container.add_stream(
            codec, rate=rate, layout="stereo" if channels == 2 else "mono"
        )
        _encode_sound(container, stream, seconds, rate, channels)
    return file.getvalue()


def _encode_sound(container, stream, seconds, rate, channels):
    wave = 0.5 * np.sin(np.arange(round(rate * seconds)) * (440 * 2 * np.pi / rate)).astype(
        np.float32
    )
    layout = "stereo" if channels == 2 else "mono"
    frame = av.AudioFrame.from_ndarray(np.tile(wave, (channels, 1)), format="fltp", layout=layout)
    frame.sample_rate = rate
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
