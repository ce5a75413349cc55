"""The vectorised preparation against transformers' processors, and what travels to a worker process."""

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import load_backbone
from crossan.extract.backbones.batches import collate
from crossan.extract.backbones.finishing import SOUND_TOLERANCE, SoundFinish
from crossan.extract.backbones.library import load_processor
from crossan.extract.backbones.preparing import PicturePreparer, ProcessorPreparer, SoundPreparer

PICTURE = {"size": {"height": 32, "width": 32}}
PADDED = {"do_pad": True, "pad_size": {"height": 32, "width": 32}}
CROPPED = {
    "size": {"shortest_edge": 40},
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
}


def change_processor(folder, copy, **changes):
    """Copy a tiny checkpoint with other settings in its ``preprocessor_config.json``."""
    shutil.copytree(folder, copy)
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return copy


def load(modality, folder):
    return load_backbone(modality, str(folder), device="cpu")


def prepared_by(backbone):
    return backbone.identity("float16", "raw").inputs["preparation"]


def model_input(backbone, medium):
    (values,) = backbone.model_inputs([backbone.prepare(medium)])[0].values()
    return values[0].numpy()


def random_picture(height, width, seed=0):
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    )


@pytest.mark.parametrize("size", [(32, 32), (1, 1), (45, 33), (33, 90), (400, 300), (31, 257)])
@pytest.mark.parametrize(
    "changes",
    [
        PICTURE,
        PICTURE | {"resample": 0},
        PICTURE | {"resample": 1},
        PICTURE | {"resample": 3},
        PICTURE | {"do_rescale": False},
        PICTURE | {"do_normalize": False, "rescale_factor": 0.00784313725490196},
        PICTURE | {"image_mean": [0.48, 0.45, 0.41], "image_std": [0.27, 0.26, 0.275]},
        PICTURE | {"image_mean": 0.5, "image_std": 0.25, "do_convert_rgb": True},
        CROPPED,
        CROPPED | {"do_resize": False},  # black around what is smaller
        CROPPED | {"size": {"shortest_edge": 25}},
        CROPPED | {"size": {"height": 47, "width": 36}, "resample": 3},
    ],
)
def test_pictures_equal_the_processor_to_the_bit(tiny, tmp_path, changes, size):
    folder = change_processor(tiny["vit"][1], tmp_path / "model", **changes)
    backbone, picture = load(Modality.IMAGE, folder), random_picture(*size)
    expected = ViTImageProcessorPil.from_pretrained(folder)(picture, return_tensors="np")[
        "pixel_values"
    ][0]
    assert np.array_equal(model_input(backbone, picture), expected)
    assert prepared_by(backbone) == "vectorised"
    assert backbone.prepare(picture)["pixel_values"].dtype == np.uint8


@pytest.mark.parametrize("size", [(32, 32), (40, 50), (90, 31)])
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("videomae", {}),
        ("videomae", {"do_center_crop": False, "size": {"height": 32, "width": 32}}),
        ("vivit", {}),
        ("vivit", {"offset": False}),
        (
            "vivit",
            {
                "rescale_factor": 1 / 255,
                "size": {"shortest_edge": 256},
                "image_mean": [0.1, 0.2, 0.3],
            },
        ),
        ("vivit", {"do_normalize": False}),
    ],
)
def test_frames_equal_the_processor_to_the_bit(tiny, tmp_path, family, changes, size):
    folder = change_processor(tiny[family][1], tmp_path / "model", **changes)
    backbone = load(Modality.VIDEO, folder)
    frames = np.random.default_rng(3).integers(0, 256, (backbone.frame_count, *size, 3), np.uint8)
    kind = {"videomae": "VideoMAEImageProcessorPil", "vivit": "VivitImageProcessor"}[family]
    processor = getattr(transformers, kind).from_pretrained(folder)
    expected = processor(list(frames), input_data_format="channels_last", return_tensors="np")[
        "pixel_values"
    ][0]
    assert np.array_equal(model_input(backbone, frames), expected)
    assert prepared_by(backbone) == "vectorised"


@pytest.mark.parametrize(
    "changes",
    [
        PADDED | {"size": {"shortest_edge": 32, "longest_edge": 32}},
        PADDED | {"size": {"max_height": 32, "max_width": 32}},
        PADDED | PICTURE,
    ],
)
def test_what_we_do_not_follow_is_prepared_by_the_processor(tiny, tmp_path, changes):
    folder = change_processor(tiny["vit"][1], tmp_path / "model", **changes)
    backbone, picture = load(Modality.IMAGE, folder), random_picture(32, 32)
    assert prepared_by(backbone) == "processor"
    expected = ViTImageProcessorPil.from_pretrained(folder)(picture, return_tensors="np")[
        "pixel_values"
    ][0]
    assert np.array_equal(model_input(backbone, picture), expected)
    assert backbone.encode([backbone.prepare(picture)]).shape == (1, 7, 32)


def test_a_processor_that_does_something_else_is_noticed_by_trying(tiny, monkeypatch):
    plain = ViTImageProcessorPil.resize
    monkeypatch.setattr(
        ViTImageProcessorPil,
        "resize",
        lambda self, image, *a, **k: plain(self, image, *a, **k)[::-1],
    )
    backbone = load(Modality.IMAGE, tiny["vit"][1])
    assert prepared_by(backbone) == "processor"
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    assert model_input(backbone, red)[:, 0, 0].tolist() == [
        -1,
        -1,
        1,
    ]  # channels turned round, as it asks


def test_a_processor_that_refuses_a_plain_picture_is_named(tiny, tmp_path):
    folder = change_processor(tiny["vit"][1], tmp_path / "model", image_mean=[0.5, 0.5])
    with pytest.raises(
        UsageError, match="ViTImageProcessorPil .* refuses a plain picture: mean must have 3"
    ):
        load(Modality.IMAGE, folder)


def test_a_picture_of_another_size_than_the_backbone_takes_is_bad_data(tiny):
    preparer = replace(load(Modality.IMAGE, tiny["vit"][1]).preparer(), size=None)
    assert preparer(random_picture(32, 32))["pixel_values"].shape == (3, 32, 32)
    with pytest.raises(DataError, match="expected a picture of 32 x 32 pixels, found 9 x 40"):
        preparer(random_picture(40, 9))


def test_a_thread_of_pixels_is_refused_before_it_fills_the_memory(tiny):
    backbone = load(Modality.VIDEO, tiny["videomae"][1])
    frames = np.broadcast_to(
        np.zeros((1, 1, 1), np.uint8), (16, 1, 3_000_000, 3)
    )  # resized: 32 x 96,000,000
    with pytest.raises(
        DataError, match="at most 64,000,000 pixels once resized, found 96,000,000 x 32"
    ):
        backbone.prepare(frames)
    with pytest.raises(DataError, match="expected 16 frames, found 3"):
        backbone.prepare(np.zeros((3, 8, 8, 3), np.uint8))


def test_only_rgb_is_taken(tiny):
    with pytest.raises(DataError, match="expected a picture in RGB, found L"):
        load(Modality.IMAGE, tiny["vit"][1]).prepare(Image.new("L", (32, 32)))


def sounds():
    random = np.random.default_rng(0)
    time = np.arange(48_000) / 16_000
    return [
        random.normal(0, 0.1, 48_000).astype(np.float32),
        np.zeros(48_000, np.float32),
        (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32),
        np.round(random.normal(0, 3, 31_999)).clip(-1, 1).astype(np.float32),
        random.normal(0, 1e-6, 400).astype(np.float32),
        random.normal(0, 0.1, 559).astype(np.float32),  # one sample short of the second spectrum
        random.normal(0, 0.1, 560).astype(np.float32),
        random.normal(0, 0.1, 200_000).astype(np.float32),  # more than max_length spectra
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sampling_rate": 22_050},
        {"do_normalize": False},
        {"mean": -6.5, "std": 3.1},
    ],
)
def test_a_batch_of_sounds_equals_the_extractor_within_the_stated_tolerance(
    tiny, tmp_path, changes
):
    folder = change_processor(
        tiny["audio-spectrogram-transformer"][1], tmp_path / "model", **changes
    )
    backbone = load(Modality.AUDIO, folder)
    assert prepared_by(backbone) == "vectorised"
    found = backbone.model_inputs([backbone.prepare(sound) for sound in sounds()])[0][
        "input_values"
    ].numpy()
    extractor = load_processor("ASTFeatureExtractor", folder)
    rate = backbone.sampling_rate
    expected = [
        extractor(sound, sampling_rate=rate, return_tensors="np")["input_values"][0]
        for sound in sounds()
    ]
    np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=SOUND_TOLERANCE)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(400, 20_000), min_size=1, max_size=5), st.integers(0, 100))
def test_a_sound_does_not_depend_on_the_others_of_its_batch(lengths, seed):
    random = np.random.default_rng(seed)
    finish = SoundFinish(transformers.ASTFeatureExtractor(num_mel_bins=16, max_length=128))
    media = [{"samples": random.normal(0, 0.1, count).astype(np.float32)} for count in lengths]
    together = finish(collate(media).tensors)["input_values"]
    alone = torch.cat([finish(collate([medium]).tensors)["input_values"] for medium in media])
    torch.testing.assert_close(
        together, alone, rtol=0, atol=1e-6
    )  # to the rounding of one matrix product


@pytest.mark.parametrize(
    "title", ["plain", "", "[SEP] [MASK] x [CLS]", "漢字 und Ünïcödé", "a\x00b\u202e", "🦊" * 90]
)
def test_titles_are_cut_as_by_the_tokeniser_of_transformers(tiny, title):
    tokenizer = transformers.BertTokenizer.from_pretrained(tiny["bert"][1])
    expected = tokenizer(title, truncation=True, max_length=64)["input_ids"]
    assert load(Modality.TEXT, tiny["bert"][1]).prepare(title)["input_ids"].tolist() == expected


def test_half_a_character_is_bad_data(tiny):
    with pytest.raises(
        DataError, match="expected a title in Unicode, found half a character at position 2"
    ):
        load(Modality.TEXT, tiny["bert"][1]).prepare("ab\ud800")


def test_sequences_are_padded_with_zeros_and_masked():
    batch = collate([{"a": np.array([1, 2, 3])}, {"a": np.array([4])}])
    assert batch.tensors["a"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch.tensors["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.is_padded
    assert not collate([{"a": np.array([1, 2])}, {"a": np.array([3, 4])}]).is_padded
    assert list(collate([{"a": np.zeros((2, 2))}]).tensors) == ["a"]


PREPARERS = [
    PicturePreparer((8, 8), 2, None, None, None, 10**6),
    PicturePreparer(8, 3, (6, 6), (6, 6), 4, 10**6),
    SoundPreparer(400, 5_000),
]
WORKER = """
import pickle, sys, numpy as np
preparer, medium = pickle.load(sys.stdin.buffer)
arrays = preparer(medium)
loaded = [name for name in ("torch", "transformers", "av", "huggingface_hub") if name in sys.modules]
pickle.dump((arrays, loaded), sys.stdout.buffer)
"""


@pytest.mark.parametrize(
    ("preparer", "medium"),
    [
        *zip(
            PREPARERS,
            [random_picture(20, 30), np.full((4, 20, 10, 3), 7, np.uint8), sounds()[2]],
            strict=True,
        )
    ],
    ids=["picture", "frames", "sound"],
)
def test_a_worker_needs_neither_torch_nor_transformers(preparer, medium):
    given = pickle.dumps((preparer, medium))
    done = subprocess.run(
        [sys.executable, "-c", WORKER], input=given, capture_output=True, check=True
    )
    arrays, loaded = pickle.loads(done.stdout)
    assert loaded == []
    assert {name: array.tolist() for name, array in arrays.items()} == {
        name: array.tolist() for name, array in preparer(medium).items()
    }
    assert pickle.loads(pickle.dumps(preparer)) == replace(preparer)
    assert len(pickle.dumps(preparer)) < 1_000


def test_the_processor_itself_travels_by_name(tiny):
    preparer = ProcessorPreparer("ViTImageProcessorPil", str(tiny["vit"][1]), Modality.IMAGE, None)
    again = pickle.loads(pickle.dumps(preparer))
    picture = random_picture(20, 30)
    assert np.array_equal(again(picture)["pixel_values"], preparer(picture)["pixel_values"])
    assert len(pickle.dumps(preparer)) < 1_000
