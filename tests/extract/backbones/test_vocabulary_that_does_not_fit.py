"""A vocabulary that hardly knows a word is refused, and a small or foreign one is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from typer.testing import CliRunner

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.canary_inputs import CANARY_TITLES
from crossan.extract.backbones.cli import app
from crossan.extract.backbones.declared_tokenizer import declared_tokenizer
from crossan.extract.backbones.tokenizer_meaning import least_unknown, unknown_share
from support.checkpoints import (
    BERT_NAMES,
    KINDS,
    LETTERS,
    WORD_PIECES,
    WORDS,
    byte_pairs,
    write_bert,
    write_settings,
    write_vocabulary,
)

ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهويةىأإآءئؤ"
NAMES = list(BERT_NAMES.values())


def declared(folder, rows=500):
    return declared_tokenizer(folder, "BertTokenizer", None, rows, "Run: fetch it again")


def write_entries(folder, entries):
    write_settings(folder, tokenizer_class="BertTokenizer")
    (folder / "vocab.txt").write_text("\n".join(entries) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        (NAMES, "knows no word: all"),
        ([*NAMES, *"!,."], "knows hardly any word: .* of .* tokens of the canary titles"),
        # The first lines of a published vocabulary: letters, and nothing that goes on a word.
        ([*NAMES, *LETTERS], "knows hardly any word"),
        ([*NAMES, *(f"##{letter}" for letter in LETTERS)], "knows no word"),
        ([*NAMES, *(f"[unused{n}]" for n in range(200))], "knows no word"),
    ],
)
def test_a_vocabulary_that_cuts_no_title_is_refused(entries, match, tmp_path):
    with pytest.raises(
        UsageError, match=f"{match}.* vocabulary has .*the weights 500 rows"
    ) as error:
        declared(write_entries(tmp_path, entries))
    assert error.value.exit_code == 2


@pytest.mark.parametrize("command", ["info", "check"])
def test_every_command_refuses_a_folder_with_the_head_of_its_vocabulary(command, tmp_path):
    write_vocabulary(write_bert(tmp_path))
    write_entries(tmp_path, WORD_PIECES[:20])
    error = CliRunner().invoke(app, [command, str(tmp_path)]).exception
    assert isinstance(error, UsageError)
    assert "knows hardly any word" in error.message


@pytest.mark.parametrize(
    ("words", "rows"), [([], 3), (WORDS[:2], 30_522), (["  red", "  cat"], 5)],
    ids=["special tokens alone", "of another checkpoint", "words that no title gives"],
)  # fmt: skip
def test_a_list_of_words_that_cannot_be_the_checkpoint_s_is_refused(words, rows, tmp_path):
    save_words(tmp_path, words)
    with pytest.raises(UsageError, match=r"knows (no|hardly any) word"):
        declared(tmp_path, rows)


def save_words(folder, words):
    names = {name: number for number, name in enumerate(["[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(names, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))


def test_byte_pairs_that_leave_out_most_letters_are_refused(tmp_path):
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UsageError, match="knows hardly any word"):
        declared(tmp_path)


def test_a_vocabulary_without_latin_letters_is_read(tmp_path):
    entries = [*NAMES, *ARABIC, *(f"##{letter}" for letter in ARABIC)]
    tokenizer = declared(write_entries(tmp_path, entries)).tokenizer
    unknown, count = unknown_share(tokenizer)
    assert unknown > 0.9 * count
    assert least_unknown(tokenizer)[0] == 0
    assert "[UNK]" not in tokenizer.encode("حقيبة جلدية").tokens


@pytest.mark.parametrize("kind", KINDS)
def test_small_vocabularies_that_know_their_words_are_read(kind, tmp_path):
    KINDS[kind]().save(str(tmp_path / "tokenizer.json"))
    assert declared(tmp_path).tokenizer.encode("red cat").ids


@settings(max_examples=30)
@given(kept=st.sets(st.sampled_from(LETTERS)))
def test_the_share_decides_for_any_part_of_the_letters(kept, tmp_path_factory):
    letters = sorted(kept)
    entries = [*NAMES, *letters, *(f"##{letter}" for letter in letters)]
    folder = write_entries(tmp_path_factory.mktemp("part"), entries)
    tokenizer = Tokenizer(models.WordPiece(
        {entry: number for number, entry in enumerate(entries)}, unk_token="[UNK]"
    ))  # fmt: skip
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens = [token for title in CANARY_TITLES for token in tokenizer.encode(title).tokens]
    if tokens.count("[UNK]") <= 0.9 * len(tokens):
        declared(folder)
    else:
        with pytest.raises(UsageError, match="word: "):
            declared(folder)


def test_what_a_tokenizer_without_an_unknown_token_leaves_out_is_unknown():
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert unknown_share(tokenizer, ["ab x", "yz"]) == (3, 5)
    assert unknown_share(byte_pairs(), ["ä red 漢"])[0] == 0


@pytest.mark.parametrize("replaced", [True, False])
@pytest.mark.parametrize("token", ["[UNK]", "[CLS]", "[SEP]"])
def test_a_vocabulary_without_a_special_token_names_it(token, replaced, tmp_path):
    others = ["[X]"] if replaced else []
    entries = others + [entry for entry in WORD_PIECES if entry != token]
    write_entries(tmp_path, entries)
    with pytest.raises(UsageError) as error:
        declared(tmp_path, len(WORD_PIECES))
    assert error.value.message == (
        f"{tmp_path / 'vocab.txt'}: expected the special token {token}"
        f" among its {len(entries)} entries, found none"
    )


def test_a_special_token_that_titles_never_need_may_have_no_row(tmp_path):
    write_entries(tmp_path, [entry for entry in WORD_PIECES if entry != "[MASK]"])
    declared(tmp_path, len(WORD_PIECES))
    with pytest.raises(UsageError, match=r"expected the special token \[MASK\] among its 84"):
        declared(tmp_path, len(WORD_PIECES) - 1)


def test_a_special_token_that_the_settings_add_is_known(tmp_path):
    entries = [entry for entry in WORD_PIECES if entry != "[SEP]"]
    write_entries(tmp_path, entries)
    write_settings(
        tmp_path,
        tokenizer_class="BertTokenizer",
        added_tokens_decoder={str(len(entries)): {"content": "[SEP]", "special": True}},
    )
    assert declared(tmp_path).tokenizer.encode("red").tokens[-1] == "[SEP]"
