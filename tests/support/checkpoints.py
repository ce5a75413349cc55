"""Small text checkpoints with tokenizers of every kind."""

from __future__ import annotations

import json

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from crossan.cache_schema.modality import Modality

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


SHAPE = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip


def write_small(folder):
    """Write one small checkpoint per kind of folder: ``folder/NAME``, by name its modality."""
    write_vocabulary(write_bert(folder / "bert"), do_lower_case=True, model_max_length=40)
    write_bert(folder / "bert-json")
    word_pieces().save(str(folder / "bert-json" / "tokenizer.json"))
    write_settings(folder / "bert-json", tokenizer_class="BertTokenizer", do_lower_case=True)
    write_bert(folder / "bert-unigram", 60)
    unigram().save(str(folder / "bert-unigram" / "tokenizer.json"))
    write_settings(folder / "bert-unigram", tokenizer_class="XLMRobertaTokenizer")
    square = {"height": 32, "width": 32}
    pictures = {"image_size": 32, **SHAPE}
    models = {
        "vit": transformers.ViTModel(
            transformers.ViTConfig(patch_size=8, **pictures), add_pooling_layer=False
        ),
        "ast": transformers.ASTModel(
            transformers.ASTConfig(max_length=304, num_mel_bins=32, **SHAPE)
        ),
        "videomae": transformers.VideoMAEModel(
            transformers.VideoMAEConfig(patch_size=16, num_frames=4, **pictures)
        ),
        "vivit": transformers.VivitModel(
            transformers.VivitConfig(num_frames=4, tubelet_size=[2, 8, 8], **pictures),
            add_pooling_layer=False,
        ),
    }
    cropped = {"size": {"shortest_edge": 32}, "crop_size": square}
    prepared_by = {
        "vit": transformers.ViTImageProcessorPil(size=square),
        "ast": transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=304),
        "videomae": transformers.VideoMAEImageProcessorPil(**cropped),
        "vivit": transformers.VivitImageProcessor(**cropped),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        prepared_by[name].save_pretrained(folder / name)


def write_vocabulary(folder, **options):
    """Write the files of a WordPiece tokenizer of `WORD_PIECES` in the older way."""
    write_settings(folder, tokenizer_class="BertTokenizer", **options)
    (folder / "vocab.txt").write_text("\n".join(WORD_PIECES) + "\n")


MODALITIES = {
    "bert": Modality.TEXT,
    "bert-json": Modality.TEXT,
    "bert-unigram": Modality.TEXT,
    "vit": Modality.IMAGE,
    "ast": Modality.AUDIO,
    "videomae": Modality.VIDEO,
    "vivit": Modality.VIDEO,
}
"""Of the checkpoints that `write_small` writes."""
