"""Settings written as TOML read back as the same object."""

import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossan.common.config import dotted, load_settings, to_toml, toml_value
from support.toy_settings import OUTERS, RUNS, Ids, Outer, TableRun, Towers, UnionRun


def read_back(tmp_path_factory, settings):
    path = tmp_path_factory.mktemp("toml") / "c.toml"
    path.write_text(to_toml(settings), encoding="utf-8", newline="")
    return load_settings(type(settings), files=[path], environment={})


@given(OUTERS | RUNS)
@example(Outer(name='a"b\x7f\x00é😀\r\n'))
def test_toml_and_back_is_the_same(tmp_path_factory, settings):
    assert read_back(tmp_path_factory, settings) == settings


@pytest.mark.parametrize("kind", [UnionRun, TableRun])
def test_a_kind_is_written_first_and_groups_last(kind):
    settings = kind(model=Towers(top_k=3, layers=(0, 2)), other=Ids())
    assert to_toml(settings) == (
        "seed = 0\n"
        "\n"
        "[model]\n"
        'kind = "towers"\n'
        "width = 64\n"
        "heads = 2\n"
        "top_k = 3\n"
        "layers = [0, 2]\n"
        "\n"
        "[model.router]\n"
        "temperature = 1.0\n"
        "hidden = [8]\n"
        "\n"
        "[other]\n"
        'kind = "ids"\n'
        "width = 64\n"
        "heads = 2\n"
        "has_bias = false\n"
    )


@pytest.mark.parametrize(
    "value", [True, 3, 1e-5, 1e300, 'a"b\x7f\x00é😀\n', [1, [2.5, "x"]], (1, 2)]
)
def test_a_value_is_written_on_one_line_and_reads_back(value):
    text = toml_value(value)
    assert "\n" not in text
    read = tomllib.loads(f"value = {text}")["value"]
    assert read == (list(value) if isinstance(value, tuple) else value)
    assert type(read) is type(value) or isinstance(value, tuple)


def test_what_toml_has_not_is_an_error():
    with pytest.raises(TypeError):
        toml_value(None)


_KEYS = st.sampled_from("abc")
_TREES = st.recursive(
    st.integers(), lambda inner: st.dictionaries(_KEYS, inner, min_size=1), max_leaves=8
)


@given(st.dictionaries(_KEYS, _TREES))
def test_dotted_names_lead_to_their_values(tree):
    for name, value in dotted(tree):
        node = tree
        for key in name.split("."):
            node = node[key]
        assert node == value
