"""What is wrong with a checkpoint's weights is named: strange ones, headers that lie, quantised ones, NaN, an index."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones import load_backbone
from support.checkpoint_damage import with_header
from support.checkpoints import MODALITIES


def load(folder, name=None):
    return load_backbone(MODALITIES[name or folder.name], str(folder), device="cpu")


def refused(folder, match):
    with pytest.raises(UsageError, match=f"(?s){match}") as caught:
        load(folder)
    assert caught.value.exit_code == 2
    return caught.value


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
def test_weights_that_the_model_would_leave_out_are_refused(changed_copy, name, strange):
    folder = changed_copy(name)
    weights = load_file(folder / "model.safetensors") | {strange: torch.zeros(3)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, "1 weights of the checkpoint are no part of .*, first: ")


@pytest.mark.parametrize(
    "head",
    ["pooler.dense.weight", "bert.pooler.dense.bias", "cls.predictions.bias", "classifier.weight",
     "qa_outputs.bias", "linear.weight", "embeddings.position_ids", "embeddings.mask_token"],
)  # fmt: skip
def test_heads_of_published_checkpoints_are_left_out_as_ever(changed_copy, head):
    folder = changed_copy("bert")
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
def test_a_header_that_lies_is_refused(changed_copy, change):
    folder = changed_copy("bert")
    change_header(folder, change)
    refused(folder, "BertModel could not be loaded from .*model.safetensors: ")


@pytest.mark.parametrize("length", [0, 7, 2**40, 2**63])
def test_a_header_of_an_impossible_length_is_refused(changed_copy, length):
    folder = changed_copy("bert")
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    refused(folder, "BertModel could not be loaded from")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused_without_any_word_in_the_config(changed_copy, dtype):
    folder = changed_copy("bert")
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    save_file(weights | {name: weights[name].to(dtype)}, folder / "model.safetensors")
    refused(folder, f"expected weights in floating point, found .* in {name}")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(changed_copy, value):
    folder = changed_copy("bert")
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
def test_an_index_is_held_against_the_folder(changed_copy, files, match):
    folder = changed_copy("bert")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, match)


def test_sharded_weights_are_read(changed_copy):
    folder = changed_copy("bert")
    expected = load(folder).encode([load(folder).prepare("red cat")])
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    files = dict.fromkeys(names, "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": files})
    )
    sharded = load(folder)
    assert np.array_equal(sharded.encode([sharded.prepare("red cat")]), expected)
