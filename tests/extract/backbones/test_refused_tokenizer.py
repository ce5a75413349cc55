"""Tokenizers that cannot be honoured are refused by name, before any title is read."""

import json
import re

import pytest
from tokenizers import Tokenizer, models

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.declared_tokenizer import declared_tokenizer
from support.checkpoints import (
    KINDS,
    WORD_PIECES,
    WORDS,
    byte_pairs,
    unigram,
    word_pieces,
    write_settings,
)


def declared(folder, model_class=None):
    return declared_tokenizer(folder, "BertTokenizer", model_class, 500, "Run: fetch it again")


JAPANESE = {"word_tokenizer_type": "mecab", "subword_tokenizer_type": "wordpiece"}


@pytest.mark.parametrize("has_json", [True, False])
@pytest.mark.parametrize(
    ("tokenizer_config", "model_class", "match"),
    [
        ({"tokenizer_class": "BertJapaneseTokenizer"}, None, "found BertJapaneseTokenizer"),
        (JAPANESE, "BertJapaneseTokenizer", "BertJapaneseTokenizer, which splits words by mecab"),
        (JAPANESE, None, "splits words by mecab"),
        (JAPANESE | {"subword_tokenizer_type": "character"}, None, "splits words by mecab"),
        ({"tokenizer_class": "BertweetTokenizer"}, None, "found BertweetTokenizer"),
        ({"tokenizer_class": "RoFormerTokenizer"}, None, "found RoFormerTokenizer"),
        ({"tokenizer_class": "OursTokenizer"}, None, "found OursTokenizer"),
        ({"auto_map": {"AutoTokenizer": ["ours.Ours", None]}}, None, "found ours.Ours"),
        ({"auto_map": [None, "ours.Ours"]}, None, "found ours.Ours"),
        ({"tokenizer_class": "BertModel"}, None, "found BertModel"),
    ],
)
def test_tokenizers_that_split_words_in_python_are_refused_by_name(
    has_json, tokenizer_config, model_class, match, tmp_path
):
    write_settings(tmp_path, **tokenizer_config)
    (tmp_path / "vocab.txt").write_text("\n".join(WORD_PIECES) + "\n")
    if has_json:
        word_pieces().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UsageError, match=f"tokenizer_config.json: expected .*{match}") as caught:
        declared(tmp_path, model_class)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("settings", "files", "match"),
    [
        ({"tokenizer_class": "XLMRobertaTokenizer"}, ["sentencepiece.bpe.model"], "bpe.model"),
        ({"tokenizer_class": "XLMRobertaTokenizer"}, ["vocab.txt"], "found XLMRobertaTokenizer"),
        ({}, ["spiece.model"], "found BertTokenizer with spiece.model"),
        ({"do_basic_tokenize": False}, ["vocab.txt"], "do_basic_tokenize"),
        ({"never_split": ["[X]"]}, ["vocab.txt"], "never_split"),
        ({}, [], "expected vocab.txt or tokenizer.json beside the weights, found none"),
    ],
)
def test_what_has_no_tokenizer_json_must_be_word_pieces(settings, files, match, tmp_path):
    write_settings(tmp_path, **settings)
    for file in files:
        (tmp_path / file).write_text("\n".join(WORD_PIECES) + "\n")
    with pytest.raises(UsageError, match=re.escape(match)):
        declared(tmp_path)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"model_max_length": "long"}, "model_max_length.*found 'long'"),
        ({"model_max_length": 0}, "model_max_length: input should be greater than 0, found 0"),
        ({"model_max_length": True}, "model_max_length.*found True"),
        ({"tokenizer_class": ["BertTokenizer"]}, "tokenizer_class: input should be a valid string"),
        ({"truncation_side": "middle"}, "truncation_side: "),
        ({"do_lower_case": "yes"}, "do_lower_case: "),
        ({"added_tokens_decoder": {"1": "x"}}, "added_tokens_decoder.1: "),
    ],
)
def test_settings_of_the_wrong_type_are_named(settings, match, tmp_path):
    write_settings(tmp_path, **settings)
    (tmp_path / "vocab.txt").write_text("\n".join(WORD_PIECES) + "\n")
    with pytest.raises(UsageError, match=f"tokenizer_config.json: {match}"):
        declared(tmp_path)


def test_word_pieces_over_the_vocabulary_of_sentencepiece_are_refused(tmp_path):
    vocabulary = {piece: number for number, (piece, _) in enumerate(_pieces(unigram()))}
    Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>")).save(
        str(tmp_path / "tokenizer.json")
    )
    with pytest.raises(UsageError, match="entries of the vocabulary are pieces of sentencepiece"):
        declared(tmp_path)


def _pieces(tokenizer):
    return json.loads(tokenizer.to_str())["model"]["vocab"]


def test_a_tokenizer_that_knows_no_word_is_refused(tmp_path):
    names = {"[UNK]": 0} | {f"  {word}": number + 1 for number, word in enumerate(WORDS)}
    tokenizer = KINDS["WordLevel"]()
    tokenizer.post_processor = None
    state = json.loads(tokenizer.to_str())
    state["model"]["vocab"], state["added_tokens"] = names, []
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(UsageError, match="knows no word: all .* tokens of the canary titles"):
        declared(tmp_path)


@pytest.mark.parametrize(
    "change", ["no unknown token", "dropout", "no model", "broken", "no such special token"]
)
def test_a_tokenizer_json_that_cannot_serve_is_refused(change, tmp_path):
    state = json.loads(byte_pairs().to_str() if change == "dropout" else word_pieces().to_str())
    if change == "no unknown token":
        del state["model"]["vocab"]["[UNK]"]
    elif change == "dropout":
        state["model"]["dropout"] = 0.1
    elif change == "no such special token":
        state["post_processor"]["special_tokens"] = {}
    elif change == "no model":
        del state["model"]
    text = json.dumps(state)
    (tmp_path / "tokenizer.json").write_text(text[:-20] if change == "broken" else text)
    with pytest.raises(
        UsageError,
        match="its tokenizer fails|found dropout|no tokenizer: |the special token '.CLS.' around",
    ):
        declared(tmp_path)
