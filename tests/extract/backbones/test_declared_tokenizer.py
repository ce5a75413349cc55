"""The tokenizer that a folder declares is the one that is used, or the folder is refused."""

import json

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import load_backbone
from crossan.extract.backbones.canary_inputs import CANARY_TITLES
from crossan.extract.backbones.declared_tokenizer import declared_tokenizer
from crossan.extract.backbones.families import FAMILIES
from crossan.extract.backbones.tokenizer_meaning import unknown_share
from support.checkpoints import (
    CLASSES,
    KINDS,
    WORD_PIECES,
    WORDS,
    byte_pairs,
    unigram,
    word_pieces,
    write_bert,
    write_settings,
    write_vocabulary,
)

TITLES = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=12)), max_size=12).map(
    " ".join
)


def declared(folder, model_class=None):
    return declared_tokenizer(folder, "BertTokenizer", model_class, 500, "Run: fetch it again")


def load(folder, **options):
    return load_backbone(Modality.TEXT, str(folder), device="cpu", **options)


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_ids_of_its_tokenizer_json(kind, class_name, tmp_path):
    tokenizer = KINDS[kind]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write_settings(tmp_path, tokenizer_class=class_name)
    used = declared(tmp_path).tokenizer
    for title in (*CANARY_TITLES, "red cat", "Red CAT", "", "  hello   world "):
        assert used.encode(title).ids == tokenizer.encode(title).ids


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(titles=st.lists(TITLES, max_size=8), max_length=st.integers(3, 40))
def test_any_title_becomes_what_tokenizer_json_says(kind, tmp_path_factory, titles, max_length):
    tokenizer, used = _pair(kind, tmp_path_factory)
    tokenizer.enable_truncation(max_length)
    used.enable_truncation(max_length)
    for title in titles:
        assert used.encode(title).ids == tokenizer.encode(title).ids


_pairs = {}


def _pair(kind, tmp_path_factory):
    """The kind's own tokenizer, and what is made of its folder; one folder for all examples."""
    if kind not in _pairs:
        folder = tmp_path_factory.mktemp("tokenizer")
        KINDS[kind]().save(str(folder / "tokenizer.json"))
        _pairs[kind] = KINDS[kind](), declared(folder).tokenizer
    return _pairs[kind]


def test_a_bert_with_the_tokenizer_of_xlm_r_reads_by_it(tmp_path):
    unigram().save(str(tmp_path / "tokenizer.json"))
    write_settings(tmp_path, tokenizer_class="XLMRobertaTokenizer", model_max_length=40)
    backbone = load(write_bert(tmp_path, 60))
    assert backbone.prepare("red cat")["input_ids"].tolist() == [0, 4, 6, 2]
    states = backbone.encode([backbone.prepare("red cat")])
    model = transformers.BertModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    with torch.no_grad():
        expected = model(torch.tensor([[0, 4, 6, 2]]), output_hidden_states=True).hidden_states
    np.testing.assert_allclose(states[0, 1], expected[2][0, 0].numpy(), rtol=1e-5, atol=1e-6)
    identity = backbone.identity("float16", "raw")
    assert identity.inputs["processor"] == "tokenizers.Unigram"
    # Revision 1 read this folder as WordPiece: its stores are told apart.
    assert identity.backbone["family_revision"] == 2 == FAMILIES["bert"].revision


def test_word_pieces_keep_the_identity_they_had_with_and_without_a_tokenizer_json(tmp_path):
    plain, fast = tmp_path / "plain", tmp_path / "fast"
    for folder in (plain, fast):
        write_vocabulary(folder, do_lower_case=True, model_max_length=40)
        write_bert(folder)
    transformers.BertTokenizer.from_pretrained(plain).save_pretrained(tmp_path / "saved")
    (fast / "tokenizer.json").write_bytes((tmp_path / "saved" / "tokenizer.json").read_bytes())
    identity, other = (load(folder).identity("float16", "raw") for folder in (plain, fast))
    assert identity.fingerprint == other.fingerprint
    assert identity.backbone["family_revision"] == 1
    assert identity.inputs["processor"] == "BertTokenizer"


def test_published_spellings_of_word_pieces_are_the_family_s_own(tmp_path):
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    write_settings(tmp_path, tokenizer_class="BertTokenizer", do_lower_case=True)
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    tokens = [
        {**state["added_tokens"][0], "id": n, "content": t} for n, t in enumerate(WORD_PIECES[:5])
    ]
    state["added_tokens"] = tokens
    # sentence-transformers saves the truncation and padding of its last call with the file.
    state["padding"] = {
        "strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    state["truncation"] = {
        "direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    found = declared(tmp_path)
    assert found.is_family_own
    assert found.tokenizer.encode("red cat").tokens == ["[CLS]", "red", "cat", "[SEP]"]
    assert len(found.tokenizer.encode("red " * 20).ids) == 22


def test_a_cased_tokenizer_json_beats_what_the_class_would_assume(tmp_path):
    word_pieces(is_lower=False).save(str(tmp_path / "tokenizer.json"))
    write_settings(tmp_path, tokenizer_class="BertTokenizer")
    found = declared(tmp_path)
    assert found.tokenizer.encode("RED").tokens == ["[CLS]", "[UNK]", "[SEP]"]
    assert not found.is_family_own


def test_settings_that_contradict_the_tokenizer_json_are_refused(tmp_path):
    word_pieces(is_lower=False).save(str(tmp_path / "tokenizer.json"))
    write_settings(tmp_path, tokenizer_class="BertTokenizer", do_lower_case=True)
    with pytest.raises(
        UsageError,
        match="tokenizer_config.json says do_lower_case true,"
        " but tokenizer.json says lowercase false",
    ):
        declared(tmp_path)
    # To any other class the setting means nothing: multilingual MiniLM has it so.
    write_settings(tmp_path, tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True)
    assert declared(tmp_path).tokenizer.encode("RED").tokens[1] == "[UNK]"


def test_added_tokens_that_the_tokenizer_json_lacks_are_refused(tmp_path):
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    write_settings(tmp_path, added_tokens_decoder={"400": {"content": "[BRAND]"}})
    with pytest.raises(UsageError, match=r"adds the token '\[BRAND\]' as 400, .* knows it as None"):
        declared(tmp_path)


def test_titles_are_cut_at_the_side_that_the_settings_say(tmp_path):
    write_vocabulary(write_bert(tmp_path), truncation_side="left", model_max_length=4)
    backbone = load(tmp_path)
    ids = backbone.prepare("red blue cat dog")["input_ids"].tolist()
    assert [WORD_PIECES[token] for token in ids] == ["[CLS]", "cat", "dog", "[SEP]"]
    inputs = backbone.identity("float16", "raw").inputs
    assert inputs["processor_config"]["truncation_side"] == "left"


def test_max_length_cuts_titles_and_is_part_of_the_identity(tmp_path):
    write_vocabulary(write_bert(tmp_path))
    plain, short, same = load(tmp_path), load(tmp_path, max_length=5), load(tmp_path, max_length=40)
    assert short.text_length("red cat " * 20) == 5
    assert plain.text_length("red cat " * 20) == 40
    prints = [backbone.identity("float16", "raw").fingerprint for backbone in (plain, short, same)]
    assert prints[0] == prints[2] != prints[1]


@pytest.mark.parametrize("max_length", [1, 2, 41, 10**6])
def test_a_max_length_that_the_backbone_cannot_keep_is_refused(max_length, tmp_path):
    write_vocabulary(write_bert(tmp_path))
    with pytest.raises(UsageError, match=f"--max-length {max_length}: expected 3 to 40 tokens"):
        load(tmp_path, max_length=max_length)


def test_a_backbone_that_reads_nothing_but_special_tokens_is_refused(tmp_path):
    write_vocabulary(write_bert(tmp_path, max_position_embeddings=2))
    with pytest.raises(
        UsageError, match="reads at least 3 tokens, special tokens included, found 2"
    ):
        load(tmp_path)


@pytest.mark.parametrize("kind", ["vocab.txt", "tokenizer.json"])
def test_a_vocabulary_larger_than_the_embedding_is_refused(kind, tmp_path):
    write_vocabulary(write_bert(tmp_path, rows=50))
    if kind == "tokenizer.json":
        word_pieces().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UsageError, match=r"ids up to 84 \('##9'\), .* has 50 rows"):
        load(tmp_path)


def test_a_title_of_no_token_is_bad_data(tmp_path):
    tokenizer = KINDS["WordLevel"]()
    tokenizer.post_processor = None
    tokenizer.save(str(write_bert(tmp_path) / "tokenizer.json"))
    backbone = load(tmp_path)
    assert backbone.prepare("red cat")["input_ids"].tolist() == tokenizer.encode("red cat").ids
    with pytest.raises(DataError, match="a title of at least one token, found none"):
        backbone.prepare(" ")


def test_the_share_of_unknown_tokens_is_counted_without_special_ones():
    assert unknown_share(word_pieces(), ["red !", "cat"]) == (1, 3)
    assert unknown_share(byte_pairs(), ["red !"])[0] == 0
    assert unknown_share(unigram(), ["red !"]) == (1, 3)  # red, the mark of a word, !
