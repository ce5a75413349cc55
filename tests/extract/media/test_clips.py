"""The folder of clips: shared by processes, and never believed without checking."""

import hashlib
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from crossan.cache_schema.modality import Modality
from crossan.common.contents.digests import content_digest
from crossan.extract.media import ClipReader, MediaNote
from crossan.extract.media.clip_parts import pack_frames, pack_sound
from crossan.extract.media.clips import ClipFolder, KeptClip
from support.counts import of_full
from support.started import CEILING_S

DIGEST = hashlib.sha256(b"a video").hexdigest()
CLIP = KeptClip(pack_frames(np.full((2, 8, 12, 3), 99, np.uint8)), (MediaNote.PADDED,))
MAGIC = b"crossan-clip 1\n"


@pytest.fixture
def folder(tmp_path):
    return ClipFolder(tmp_path, Modality.VIDEO, 2)


def signed(header, *parts):
    """Return a file whose checksum is right, whatever it says: what somebody hostile would write."""
    body = json.dumps(header).encode() + b"\n" + b"".join(parts)
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def header_of(folder):
    return json.loads(folder.path_of(DIGEST).read_bytes().split(b"\n")[2])


def test_what_is_saved_is_loaded_and_nothing_else_lies_there(folder, tmp_path):
    assert folder.load(DIGEST) is None
    folder.save(DIGEST, CLIP)
    found = folder.load(DIGEST)
    assert ([bytes(part) for part in found.parts], found.notes, found.absent) == (
        CLIP.parts,
        CLIP.notes,
        None,
    )
    path = folder.path_of(DIGEST)
    assert path.parent.name == DIGEST[:2]
    assert path.parent.parent.parent == tmp_path
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_recipes_lie_apart(tmp_path):
    folders = [ClipFolder(tmp_path, Modality.VIDEO, 2), ClipFolder(tmp_path, Modality.VIDEO, 3),
               ClipFolder(tmp_path, Modality.AUDIO)]  # fmt: skip
    assert len({folder.path_of(DIGEST) for folder in folders}) == 3


@settings(
    max_examples=of_full(150, 50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_damage_is_noticed(folder, data):
    folder.save(DIGEST, CLIP)
    path = folder.path_of(DIGEST)
    content = bytearray(path.read_bytes())
    kind = data.draw(st.sampled_from(["change", "cut", "longer"]))
    if kind == "change":
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content += data.draw(st.binary(min_size=1, max_size=9))
    path.write_bytes(content)
    assert folder.load(DIGEST) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"content": "0" * 64},
        {"recipe": {}},
        {"part_bytes": [1, 2]},
        {"part_bytes": [-5, 1_000_000]},
        {"part_bytes": [True, False]},
        {"part_bytes": []},
        {"part_bytes": "all"},
        {"notes": ["rm -rf"]},
        {"notes": None},
        {"full_scale": 0.5},
        {"full_scale": 1e39},
        {"absent": 7},
        {"absent": "gone"},  # and yet there are parts
    ],
)
def test_a_header_that_promises_something_else_is_not_believed(folder, changes):
    folder.save(DIGEST, CLIP)
    header = header_of(folder)
    folder.path_of(DIGEST).write_bytes(signed(header, *CLIP.parts))
    assert folder.load(DIGEST) is not None
    folder.path_of(DIGEST).write_bytes(signed({**header, **changes}, *CLIP.parts))
    assert folder.load(DIGEST) is None


def test_links_folders_pipes_and_giants_are_not_read(folder, tmp_path, monkeypatch):
    folder.save(DIGEST, CLIP)
    path = folder.path_of(DIGEST)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert folder.load(DIGEST) is None
    path.unlink()
    os.mkfifo(path)
    assert folder.load(DIGEST) is None
    path.unlink()
    path.mkdir()
    assert folder.load(DIGEST) is None
    path.rmdir()
    (tmp_path / "elsewhere").rename(path)
    assert folder.load(DIGEST) is not None
    monkeypatch.setattr("crossan.extract.media.clips._MOST_BYTES", path.stat().st_size - 1)
    assert folder.load(DIGEST) is None


def jpeg(size, mode="RGB", kind="JPEG"):
    target = io.BytesIO()
    Image.new(mode, size).save(target, kind)
    return target.getvalue()


@pytest.mark.parametrize(
    "parts",
    [
        [jpeg((225, 225)), jpeg((225, 225))],  # larger than any that is kept
        [jpeg((12, 8)), jpeg((8, 12))],
        [jpeg((12, 8), "L"), jpeg((12, 8), "L")],
        [jpeg((12, 8), kind="PNG"), jpeg((12, 8), kind="PNG")],
        [jpeg((12, 8))[:-40], jpeg((12, 8))[:-40]],
        [b"nonsense", b"nonsense"],
    ],
)
def test_parts_that_were_never_kept_are_decoded_anew_and_replaced(
    tmp_path, video_of, scenes_of, parts
):
    path = video_of(tmp_path / "v.mp4", [100 * k for k in range(35)], levels=scenes_of(35))
    folder, digest = ClipFolder(tmp_path / "clips", Modality.VIDEO, 2), content_digest(path)
    reader = ClipReader(2, None, tmp_path / "clips")
    made = reader.read(path, digest, frozenset({Modality.VIDEO})).medium(Modality.VIDEO)
    whole = folder.path_of(digest).read_bytes()
    folder.save(digest, KeptClip(parts))
    again = reader.read(path, digest, frozenset({Modality.VIDEO})).medium(Modality.VIDEO)
    assert np.array_equal(made, again)
    assert folder.path_of(digest).read_bytes() == whole


@pytest.mark.parametrize(
    "part",
    [b"fLaC", b"nonsense", jpeg((12, 8)), pack_sound(np.zeros(800, np.float32), 8_000)[0][:60]],
)
def test_a_sound_that_was_never_kept_is_decoded_anew(tmp_path, sound_of, part):
    path = sound_of(tmp_path / "s.wav", 1.0)
    folder, digest = ClipFolder(tmp_path / "clips", Modality.AUDIO), content_digest(path)
    reader = ClipReader(None, 16_000, tmp_path / "clips")
    made = reader.read(path, digest, frozenset({Modality.AUDIO})).medium(Modality.AUDIO)
    folder.save(digest, KeptClip([part]))
    assert np.array_equal(
        reader.read(path, digest, frozenset({Modality.AUDIO})).medium(Modality.AUDIO), made
    )
    assert bytes(folder.load(digest).parts[0]) != part


WRITER = """
import sys
from pathlib import Path
from crossan.cache_schema.modality import Modality
from crossan.extract.media.clips import ClipFolder, KeptClip
folder, digest, number = ClipFolder(Path(sys.argv[1]), Modality.AUDIO), sys.argv[2], sys.argv[3].encode()
for turn in range(300):
    folder.save(digest, KeptClip([number * (turn % 50 + 1000)]))
    found = folder.load(digest)
    assert found is not None and len(set(bytes(found.parts[0]))) == 1, turn
print("whole")
"""


def test_processes_write_one_clip_and_read_only_whole_ones(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path, DIGEST, number],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in "123"
    ]
    assert [writer.communicate(timeout=CEILING_S)[0] for writer in writers] == ["whole\n"] * 3
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [f"{DIGEST}.clip"]
