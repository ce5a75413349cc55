"""Small text checkpoints with tokenizers of every kind."""

from __future__ import annotations

import json

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["red", "blue", "cat", "dog", "hello", "world", "the", "fox"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
BERT_NAMES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
WORD_PIECES = [*BERT_NAMES.values(), *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]


def write_bert(folder, rows=None, **settings):
    """Write config and weights of a BERT; rows of its embedding, by default as `WORD_PIECES`."""
    shape = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 40,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.BertConfig(vocab_size=rows or len(WORD_PIECES), **shape | settings)
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def write_settings(folder, **settings):
    """Write ``tokenizer_config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _framed(tokenizer, first, last):
    """Let a tokenizer put two special tokens around each text."""
    special = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    tokenizer.add_special_tokens([first, last])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B {last}", special_tokens=special
    )
    return tokenizer


def word_pieces(*, is_lower=True):
    """Return BERT's own kind."""
    tokenizer = Tokenizer(models.WordPiece(_numbered(WORD_PIECES), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=is_lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _framed(tokenizer, "[CLS]", "[SEP]")


def unigram():
    """Return XLM-R's kind, as multilingual MiniLM and E5 have it."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"\u2581{word}", -2.0 - number / 100) for number, word in enumerate(WORDS)]
    pieces += [(letter, -5.0) for letter in f"\u2581{LETTERS}"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return _framed(tokenizer, "<s>", "</s>")


def byte_pairs():
    """Return RoBERTa's kind, which works on bytes and knows everything."""
    names = ["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "re", "ca"]
    tokenizer = Tokenizer(models.BPE(_numbered(names), [("r", "e"), ("c", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return _framed(tokenizer, "<s>", "</s>")


def word_level():
    """Return a list of whole words."""
    names = ["[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel(_numbered(names), unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return _framed(tokenizer, "[CLS]", "[SEP]")


def _numbered(names):
    return {name: number for number, name in enumerate(names)}


KINDS = {
    "WordPiece": word_pieces,
    "WordPiece, cased": lambda: word_pieces(is_lower=False),
    "Unigram": unigram,
    "BPE": byte_pairs,
    "WordLevel": word_level,
}
CLASSES = (
    None,
    "BertTokenizer",
    "BertTokenizerFast",
    "XLMRobertaTokenizer",
    "XLMRobertaTokenizerFast",
    "PreTrainedTokenizerFast",
)
