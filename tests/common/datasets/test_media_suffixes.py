"""Each suffix that an import takes for a medium is one whose files the decoders read."""

import av
import numpy as np
import pytest
from PIL import Image

from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.datasets.media_files import MEDIA_SUFFIXES
from crossan.extract.media.probe import probe_audio, probe_image, probe_video

PICTURES = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG",
    ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
"""From a suffix to the format of Pillow."""
FILMS = {
    **dict.fromkeys((".mp4", ".m4v"), ("mp4", "mpeg4", "aac")),
    **dict.fromkeys((".mov", ".qt"), ("mov", "mpeg4", "aac")),
    ".3gp": ("3gp", "mpeg4", "aac"),
    ".3g2": ("3g2", "mpeg4", "aac"),
    ".f4v": ("f4v", "libx264", "aac"),
    ".mkv": ("matroska", "mpeg4", "aac"),
    ".webm": ("webm", "libvpx", "libopus"),
    ".avi": ("avi", "mpeg4", "mp2"),
    ".flv": ("flv", "flv", "aac"),
    **dict.fromkeys((".mpg", ".mpeg"), ("mpeg", "mpeg1video", "mp2")),
    ".vob": ("vob", "mpeg2video", "mp2"),
    **dict.fromkeys((".ts", ".mts", ".m2ts"), ("mpegts", "mpeg2video", "mp2")),
    ".m1v": ("mpeg1video", "mpeg1video", None),
    ".m2v": ("mpeg2video", "mpeg2video", None),
    ".ogv": ("ogv", "libvpx", "libopus"),
}
"""From a suffix to FFmpeg's container and codecs of pictures and sound."""
SOUNDS = {
    **dict.fromkeys((".wav", ".wave"), ("wav", "pcm_s16le")),
    **dict.fromkeys((".mp3", ".mpga"), ("mp3", "libmp3lame")),
    ".mp2": ("mp2", "mp2"),
    ".flac": ("flac", "flac"),
    **dict.fromkeys((".ogg", ".oga"), ("ogg", "libopus")),
    ".opus": ("opus", "libopus"),
    **dict.fromkeys((".m4a", ".m4b"), ("ipod", "aac")),
    ".aac": ("adts", "aac"),
    ".mka": ("matroska", "aac"),
    ".weba": ("webm", "libopus"),
    **dict.fromkeys((".aif", ".aiff", ".aifc"), ("aiff", "pcm_s16be")),
    ".caf": ("caf", "pcm_s16le"),
    **dict.fromkeys((".au", ".snd"), ("au", "pcm_s16be")),
    ".w64": ("w64", "pcm_s16le"),
    **dict.fromkeys((".rf64", ".bw64"), ("wav", "pcm_s16le", {"rf64": "always"})),
}


def write_film(path, container, pictures, sound):
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(pictures, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        heard = sound and out.add_stream(sound, rate=48_000, layout="mono")
        if heard:
            add_second(out, heard)
        for k in range(25):
            picture = np.full((48, 64, 3), 10 * k, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))


def write_sound(path, container, codec, options=None):
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        add_second(out, out.add_stream(codec, rate=48_000, layout="mono"))


def add_second(out, stream):
    wave = np.sin(np.arange(48_000) * 0.1).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
    frame.sample_rate = 48_000
    out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def test_no_suffix_is_without_a_file_that_was_tried():
    assert MEDIA_SUFFIXES[Modality.IMAGE] == set(PICTURES)
    assert MEDIA_SUFFIXES[Modality.VIDEO] == set(FILMS)
    assert MEDIA_SUFFIXES[Modality.AUDIO] == set(FILMS) | set(SOUNDS)


@pytest.mark.parametrize("suffix", PICTURES)
def test_pictures_are_read(tmp_path, suffix):
    Image.new("RGB", (16, 8), (200, 10, 10)).save(tmp_path / f"1{suffix}", PICTURES[suffix])
    assert probe_image(tmp_path / f"1{suffix}") is ItemStatus.OK


@pytest.mark.parametrize("suffix", FILMS)
def test_films_are_read(tmp_path, suffix):
    write_film(tmp_path / f"1{suffix}", *FILMS[suffix])
    assert probe_video(tmp_path / f"1{suffix}") is ItemStatus.OK
    if FILMS[suffix][2] is not None:
        assert probe_audio(tmp_path / f"1{suffix}") is ItemStatus.OK


@pytest.mark.parametrize("suffix", SOUNDS)
def test_sounds_are_read(tmp_path, suffix):
    write_sound(tmp_path / f"1{suffix}", *SOUNDS[suffix])
    assert probe_audio(tmp_path / f"1{suffix}") is ItemStatus.OK
