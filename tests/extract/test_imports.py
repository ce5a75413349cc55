"""What the processes of an extraction load: only what their work needs."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.preparing import PicturePreparer, SoundPreparer
from crossan.extract.cli import main
from crossan.extract.media import ClipReader
from crossan.extract.workers import ItemReader
from support.extraction import places, write_items
from support.started import CEILING_S

HEAVY = ("torch", "transformers", "huggingface_hub", "tokenizers", "scipy", "zarr", "av", "PIL")

RUN = f"""
import json, sys
from crossan.extract.cli import main
try:
    main()
finally:
    print(json.dumps([name for name in {HEAVY} if name in sys.modules]))
"""

READ = f"""
import json, pickle, sys
import crossan.extract.workers.process
pickle.load(sys.stdin.buffer).load_decoders()
print(json.dumps([name for name in ("pyarrow", "pydantic", *{HEAVY}) if name in sys.modules]))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imports")
    Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(folder / "a.png")
    picture = str(folder / "a.png")
    # No file: found out without decoding, so that no video has to be made.
    gone = str(folder / "gone.mp4")
    items = [{"item_id": "a", "title": "red cat", "image": picture, "video": gone, "audio": gone}]
    return write_items(folder / "d", items)


def loaded_by(arguments):
    """Run ``crossan-extract`` in a process of its own; return its line of text and what it has loaded."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=CEILING_S,
    )
    said, *_, loaded = ran.stdout.splitlines()
    return said, json.loads(loaded)


@pytest.fixture
def arguments(dataset, tiny_backbones, tmp_path, monkeypatch):
    """Return a function from modalities to the arguments of the command, with a cache and a memory of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    options = [*places(dataset, tmp_path / "c", tiny_backbones), "--max-bad", "100%"]
    return lambda modality: [*map(str, options), "--modality", modality, "--device", "cpu"]


@pytest.mark.parametrize(
    ("modality", "done"), [("text", "1 ok"), ("image", "1 ok"), ("video,audio", "1 missing")]
)
def test_a_run_with_nothing_left_loads_neither_backbone_nor_decoder(
    arguments, monkeypatch, capsys, modality, done
):
    monkeypatch.setattr(sys, "argv", ["crossan-extract", *arguments(modality)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    first = said.out.splitlines()[0]
    assert done in first
    again, loaded = loaded_by(arguments(modality))
    assert (again.partition(";")[0], loaded) == (first.partition(";")[0], [])


def test_a_run_on_pictures_loads_no_ffmpeg(arguments):
    said, loaded = loaded_by(arguments("image"))
    assert "forwarded 1" in said
    assert {"torch", "transformers", "PIL"} <= set(loaded)
    assert not {"av", "scipy"} & set(loaded)


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        (
            ItemReader({Modality.IMAGE: PicturePreparer(8, 2, None, (8, 8), None, 99)}, None),
            ["PIL"],
        ),
        (
            ItemReader({Modality.AUDIO: SoundPreparer(9, 99)}, ClipReader(sampling_rate=16_000)),
            ["av", "PIL"],
        ),
    ],
)
def test_a_worker_loads_the_decoders_of_its_media_alone(reader, expected):
    ran = subprocess.run(
        [sys.executable, "-c", READ],
        input=pickle.dumps(reader),
        capture_output=True,
        check=True,
        timeout=CEILING_S,
    )
    assert json.loads(ran.stdout) == expected
