"""``crossan-extract`` with checkpoints that are not the family's plain ones: used as declared, or refused before a job."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers

from crossan.cache_schema.errors import UsageError
from crossan.common.stores import open_store
from crossan.extract.cli import extract
from support.checkpoint_damage import LFS_POINTER
from support.checkpoints import WORDS, unigram, write_bert, write_settings, write_vocabulary
from support.commands import attempt, run
from support.extraction import places, write_items


@pytest.fixture
def dataset(tmp_path):
    titles = ["red cat", "blue dog", " ".join(WORDS), "Hello, World!"]
    items = [{"item_id": f"i{n}", "title": title} for n, title in enumerate(titles)]
    return write_items(tmp_path / "d", items), titles


def arguments(dataset, tmp_path, backbone, *more):
    return ["--modality", "text", *places(dataset[0], tmp_path / "c", backbone), "--json", *more]


def stores(done):
    return [store["store"] for store in json.loads(done.stdout.splitlines()[-1])["stores"]]


def test_a_store_holds_the_states_of_the_ids_that_tokenizer_json_gives(dataset, tmp_path):
    folder = write_bert(tmp_path / "e5", 60)
    tokenizer = unigram()
    tokenizer.save(str(folder / "tokenizer.json"))
    write_settings(folder, tokenizer_class="XLMRobertaTokenizer")
    done = run(extract, *arguments(dataset, tmp_path, folder, "--stored-dtype", "float32"))
    store = open_store(stores(done)[0])
    states = store.read(np.arange(len(store.item_ids)))
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    for title, row in zip(dataset[1], states, strict=True):
        ids = torch.tensor([tokenizer.encode(title).ids])
        with torch.no_grad():
            hidden = model(ids, output_hidden_states=True).hidden_states
        expected = torch.stack([hidden[layer][0, 0] for layer in (0, 2)])
        np.testing.assert_allclose(row, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_another_max_length_is_another_store(dataset, tmp_path):
    write_vocabulary(write_bert(tmp_path / "bert"))
    plain, short = (
        stores(run(extract, *arguments(dataset, tmp_path, tmp_path / "bert", *more)))[0]
        for more in ((), ("--max-length", "5"))
    )
    assert plain != short
    identities = [open_store(store).identity.inputs["max_length"] for store in (plain, short)]
    assert identities == [40, 5]
    same = run(extract, *arguments(dataset, tmp_path, tmp_path / "bert", "--max-length", "40"))
    assert stores(same) == [plain]


def test_a_max_length_without_titles_is_refused(dataset, tmp_path):
    done = attempt(
        extract, "--modality", "image", *places(dataset[0], tmp_path / "c", tmp_path),
        "--max-length", "30",
    )  # fmt: skip
    assert isinstance(done.exception, UsageError)
    assert "--max-length 30: titles are cut to it, and text is not extracted" in str(done.exception)


def lfs_pointer(folder):
    (folder / "tokenizer.json").write_bytes(LFS_POINTER)


def change_config(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def shorten_weights(folder):
    write_bert(folder, rows=7)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lfs_pointer, "tokenizer.json: .* git-lfs"),
        (change_config(quantization_config={"quant_method": "bitsandbytes"}), "by bitsandbytes"),
        (change_config(hidden_act="swiglu"), "hidden_act 'swiglu'"),
        (shorten_weights, "embedding in the weights has 7 rows"),
    ],
)
def test_what_is_wrong_beside_the_weights_ends_a_job_before_it_begins(
    dataset, tmp_path, damage, match
):
    folder = tmp_path / "bert"
    write_vocabulary(write_bert(folder))
    damage(folder)
    done = attempt(extract, *arguments(dataset, tmp_path, folder))
    with pytest.raises(UsageError, match=match) as caught:
        raise done.exception
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert not (tmp_path / "c").exists()
