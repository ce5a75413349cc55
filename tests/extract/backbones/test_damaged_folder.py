"""What is wrong with a checkpoint's folder is named with its file, before anything large is done."""

import json
import os
import re
import shutil
import struct

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import load_backbone
from support.checkpoint_damage import LFS_POINTER, with_header
from support.checkpoints import MODALITIES, write_small


@pytest.fixture(scope="session")
def small(once):
    return once("small-checkpoints", write_small)


@pytest.fixture
def copy(small, tmp_path):
    """Return a function that copies the checkpoint of this name, with some of a file's JSON changed."""

    def copy(name, file="config.json", **changes):
        folder = tmp_path / name
        shutil.copytree(small / name, folder, dirs_exist_ok=True)
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(content | changes))
        return folder

    return copy


def load(folder, name=None):
    return load_backbone(MODALITIES[name or folder.name], str(folder), device="cpu")


def refused(folder, match):
    with pytest.raises(UsageError, match=f"(?s){match}") as caught:
        load(folder)
    assert caught.value.exit_code == 2
    return caught.value


FILES = [
    (name, file)
    for name, files in {
        "bert": ["config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors"],
        "bert-json": ["tokenizer.json", "special_tokens_map.json"],
        "vit": ["preprocessor_config.json", "processor_config.json"],
        "ast": ["preprocessor_config.json", "model.safetensors"],
    }.items()
    for file in files
]


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_pointer_that_git_lfs_left_is_named_with_the_command(copy, name, file):
    folder = copy(name)
    (folder / file).write_bytes(LFS_POINTER)
    error = refused(folder, f"{re.escape(file)}: .* git-lfs pointer")
    assert error.remedy == f"Run: git lfs pull  (in {folder})"


@pytest.mark.parametrize(("name", "file"), FILES)
@pytest.mark.parametrize("kind", ["dangling link", "loop", "pipe", "device"])
def test_what_is_no_regular_file_is_refused_without_waiting(copy, name, file, kind):
    folder = copy(name)
    path = folder / file
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        target = {"dangling link": "nowhere", "loop": file, "device": "/dev/zero"}[kind]
        path.symlink_to(target)
    refused(folder, f"{re.escape(file)}: ")


@pytest.mark.parametrize(("name", "file"), [entry for entry in FILES if entry[1].endswith("json")])
@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, '{"a": "\\ud800"}'],
)
def test_what_is_not_one_json_object_is_refused(copy, name, file, text):
    folder = copy(name)
    (folder / file).write_text(text)
    refused(folder, re.escape(file))


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("bert", {"quantization_config": {"quant_method": "bitsandbytes"}}, "by bitsandbytes"),
        ("bert", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "by gptq"),
        ("vit", {"quantization_config": {"quant_method": "fp8"}}, "quantised by fp8"),
        ("ast", {"quantization_config": {"quant_method": "awq"}}, "quantised by awq"),
        ("vivit", {"compression_config": {"x": 1}}, "quantised by"),
        ("bert", {"quantization_config": "int8"}, "quantised by"),
        ("bert", {"hidden_act": "swiglu"}, "found hidden_act 'swiglu'"),
        ("vit", {"hidden_act": "nonsense"}, "found hidden_act 'nonsense'"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"num_hidden_layers": 0}, "1 weights|weights of the checkpoint are no part|none"),
        ("bert", {"num_hidden_layers": 10_000_000}, "num_hidden_layers 10000000"),
        ("ast", {"num_hidden_layers": 10_000_000}, "num_hidden_layers 10000000"),
        ("bert", {"num_hidden_layers": 1}, "no part of BertModel .* encoder.layer.1."),
        ("vit", {"num_hidden_layers": 1}, "no part of ViTModel .* first: .*layers?.1."),
        ("bert", {"hidden_size": 10**9}, "would have .* numbers"),
        ("bert", {"intermediate_size": 10**9}, "would have .* numbers"),
        ("bert", {"vocab_size": 10**12}, "would have .* numbers"),
        ("bert", {"max_position_embeddings": 10**10}, "would have .* numbers"),
        ("bert", {"num_attention_heads": 0}, "BertModel could not be loaded"),
        ("bert", {"num_attention_heads": 3}, "BertModel could not be loaded"),
        ("bert", {"type_vocab_size": 0}, "another shape|fail|could not"),
        ("bert", {"layer_norm_eps": "x"}, "BertModel could not be loaded"),
        ("bert", {"layer_norm_eps": -1e9}, "expected finite hidden states"),
        ("bert", {"pad_token_id": 10**6}, "BertModel could not be loaded"),
        ("videomae", {"image_size": 10**6}, "patches, found"),
        ("videomae", {"num_frames": 10**7}, "patches, found"),
        ("vivit", {"tubelet_size": [9, 8, 8]}, "patches, found 0"),
        ("vit", {"patch_size": 64}, "patches, found 0"),
        ("vit", {"image_size": 64}, "another shape"),
        ("vit", {"num_channels": 1}, "another shape"),
        ("ast", {"time_stride": 0}, "ASTModel could not be loaded"),
    ],
)  # fmt: skip
def test_a_config_that_the_weights_cannot_fill_is_refused(copy, name, changes, match):
    refused(copy(name, **changes), match)


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("vit", {"size": 0}, "size"),
        ("vit", {"size": {"height": 0, "width": 32}}, "size.height: input should be greater"),
        ("vit", {"size": {"height": 10**9, "width": 10**9}}, "size"),
        ("vit", {"size": "large"}, "size"),
        ("vit", {"size": {"height": 16, "width": 16}}, "inputs do not fit its model: .*32 x 32"),
        ("vit", {"image_std": [0.5, 0, 0.5]}, "image_std.1: .* should not be 0"),
        ("vit", {"image_mean": "grey"}, "image_mean"),
        ("vit", {"image_mean": [0.5]}, "refuses a plain picture: mean must have 3"),
        ("vit", {"resample": 99}, "resample: input should be less"),
        ("vit", {"resample": "bicubic"}, "resample"),
        ("vit", {"rescale_factor": 0}, "rescale_factor"),
        ("vit", {"do_resize": "yes"}, "do_resize"),
        ("vivit", {"crop_size": {"height": -1, "width": 2}}, "crop_size"),
        ("vit", {"image_processor_type": "Qwen2Tokenizer"}, "found Qwen2Tokenizer"),
        ("vit", {"image_processor_type": "OursImageProcessor"}, "found OursImageProcessor"),
        ("vit", {"image_processor_type": ["ViTImageProcessor"]}, "ViTImageProcessor"),
        ("ast", {"sampling_rate": 0}, "sampling_rate"),
        ("ast", {"sampling_rate": 10**10}, "sampling_rate"),
        ("ast", {"sampling_rate": "16k"}, "sampling_rate"),
        ("ast", {"std": 0}, "std: .* should not be 0"),
        ("ast", {"num_mel_bins": 10**9}, "num_mel_bins"),
        ("ast", {"num_mel_bins": 64}, "expected num_mel_bins 32, as config.json says, found 64"),
        ("ast", {"max_length": 10**9}, "max_length"),
        ("ast", {"feature_extractor_type": "WhisperFeatureExtractor"}, "found WhisperFeature"),
    ],
)  # fmt: skip
def test_settings_of_a_processor_that_cannot_be_are_refused(copy, name, changes, match):
    refused(copy(name, "preprocessor_config.json", **changes), match)


def test_another_processor_that_the_folder_declares_is_used(copy):
    square = {"height": 32, "width": 32}
    folder = copy(
        "vit", "preprocessor_config.json",
        feature_extractor_type="DeiTFeatureExtractor", image_processor_type=None,
        do_center_crop=True, crop_size=square, size={"height": 40, "width": 40}, resample=3,
    )  # fmt: skip
    backbone = load(folder)
    assert backbone.identity("float16", "raw").inputs["processor"] == "DeiTImageProcessorPil"
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8))
    expected = transformers.DeiTImageProcessorPil.from_pretrained(folder)(
        picture, return_tensors="np"
    )["pixel_values"][0]
    inputs, _ = backbone.model_inputs([backbone.prepare(picture)])
    assert np.array_equal(inputs["pixel_values"][0].numpy(), expected)


def test_settings_in_a_joint_file_go_before_those_of_their_own(copy):
    folder = copy("vit")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    joint = {"image_processor": settings | {"image_mean": [0.1, 0.1, 0.1]}}
    (folder / "processor_config.json").write_text(json.dumps(joint))
    (folder / "preprocessor_config.json").unlink()
    shown = load(folder).identity("float16", "raw").inputs["processor_config"]
    assert shown["image_mean"] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("name", "strange"),
    [
        ("bert", "encoder.layer.0.attention.self.distance_embedding.weight"),
        ("bert", "encoder.layer.1.attention.self.query.lora_A.weight"),
        ("bert", "bert.embeddings.word_embeddings_scale"),
        ("bert", "adapter.weight"),
        ("vit", "encoder.layer.0.layer_scale1.lambda1"),
        ("vit", "embeddings.register_tokens"),
        ("ast", "encoder.layer.0.attention.attention.relative_position_bias"),
        ("videomae", "encoder.layer.1.strange"),
        ("vivit", "encoder.layer.1.strange"),
    ],
)
def test_weights_that_the_model_would_leave_out_are_refused(copy, name, strange):
    folder = copy(name)
    weights = load_file(folder / "model.safetensors") | {strange: torch.zeros(3)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, "1 weights of the checkpoint are no part of .*, first: ")


@pytest.mark.parametrize(
    "head",
    ["pooler.dense.weight", "bert.pooler.dense.bias", "cls.predictions.bias", "classifier.weight",
     "qa_outputs.bias", "linear.weight", "embeddings.position_ids", "embeddings.mask_token"],
)  # fmt: skip
def test_heads_of_published_checkpoints_are_left_out_as_ever(copy, head):
    folder = copy("bert")
    before = load(folder).identity("float16", "raw").capture
    weights = load_file(folder / "model.safetensors") | {head: torch.zeros(3)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(folder).identity("float16", "raw").capture == before


def change_header(folder, change):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    change(header)
    path.write_bytes(with_header(header, data[8 + size :]))


NAME = "embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header[NAME].update(data_offsets=[0, 10**15]),
        lambda header: header[NAME].update(data_offsets=[9, 3]),
        lambda header: header[NAME].update(data_offsets=header["embeddings.LayerNorm.bias"]["data_offsets"]),
        lambda header: header[NAME].update(shape=[10**12, 10**12]),
        lambda header: header[NAME].update(dtype="Q8"),
        lambda header: header.pop(NAME),
    ],
    ids=["outside", "backwards", "overlapping", "huge", "unknown type", "hole"],
)  # fmt: skip
def test_a_header_that_lies_is_refused(copy, change):
    folder = copy("bert")
    change_header(folder, change)
    refused(folder, "BertModel could not be loaded from .*model.safetensors: ")


@pytest.mark.parametrize("length", [0, 7, 2**40, 2**63])
def test_a_header_of_an_impossible_length_is_refused(copy, length):
    folder = copy("bert")
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    refused(folder, "BertModel could not be loaded from")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused_without_any_word_in_the_config(copy, dtype):
    folder = copy("bert")
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    save_file(weights | {name: weights[name].to(dtype)}, folder / "model.safetensors")
    refused(folder, f"expected weights in floating point, found .* in {name}")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(copy, value):
    folder = copy("bert")
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"][3] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(
        folder, "expected finite weights, found NaN or infinity in encoder.layer.1.output.dense"
    )


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({NAME: "gone.safetensors"}, "gone.safetensors: no such file, but model.safetensors.index"),
        ({NAME: "../model.safetensors"}, r"expected names of \*.safetensors in this folder"),
        ({NAME: "/etc/passwd"}, r"expected names of \*.safetensors in this folder"),
        ({NAME: "pytorch_model.bin"}, r"expected names of \*.safetensors in this folder"),
        ({NAME: 3}, "weight_map.*: input should be a valid string"),
        (["a"], "weight_map: input should be a valid dictionary"),
    ],
)
def test_an_index_is_held_against_the_folder(copy, files, match):
    folder = copy("bert")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, match)


def test_sharded_weights_are_read(copy):
    folder = copy("bert")
    expected = load(folder).encode([load(folder).prepare("red cat")])
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    files = dict.fromkeys(names, "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": files})
    )
    sharded = load(folder)
    assert np.array_equal(sharded.encode([sharded.prepare("red cat")]), expected)


def test_a_folder_of_links_to_its_files_is_a_folder_of_files(copy, tmp_path):
    folder = copy("bert")
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    prints = [
        load_backbone(Modality.TEXT, str(place), device="cpu")
        .identity("float16", "raw")
        .fingerprint
        for place in (folder, linked)
    ]
    assert prints[0] == prints[1]
