"""Every setting of a class is listed, those of each kind under it."""

import pytest

from crossan.common.config import nearest, settings_in
from support.toy_settings import Outer, TableRun, Towers, UnionRun


def test_values_come_before_groups():
    assert [(setting.name, setting.kinds) for setting in settings_in(Outer)] == [
        ("seed", ()),
        ("rate", ()),
        ("name", ()),
        ("is_fast", ()),
        ("model.bottleneck_dim", ()),
        ("model.combine", ()),
        ("model.layers", ()),
    ]


def test_a_union_and_a_table_list_the_same():
    union, table = (
        [
            (setting.name, setting.owner, setting.kinds)
            for setting in settings_in(kind)
            if setting.name != "seed"
        ]
        for kind in (UnionRun, TableRun)
    )
    assert [one for one in table if one[2] != (("other.kind", "counts"),)] == union
    towers, ids = (("model.kind", "towers"),), (("model.kind", "ids"),)
    in_model = [(name, kinds) for name, _, kinds in union if name.startswith("model.")]
    assert in_model == [
        ("model.width", towers),
        ("model.heads", towers),
        ("model.kind", towers),
        ("model.top_k", towers),
        ("model.layers", towers),
        ("model.router.temperature", towers),
        ("model.router.hidden", towers),
        ("model.width", ids),
        ("model.heads", ids),
        ("model.kind", ids),
        ("model.has_bias", ids),
        ("model.kind", (("model.kind", "counts"),)),
    ]
    assert next(owner for name, owner, _ in union if name == "model.top_k") is Towers


FAR = "a.long.way.down.to.the.group.with.top_k"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.topk", "model.topk_of"),
        ("seed.s", "seed"),
        ("topk", FAR),  # as a whole unlike, its last part alike
        ("zzz", None),
    ],
)
def test_the_nearest_name(name, expected):
    known = ["seed", FAR] if expected == FAR else ["seed", "model.topk_of"]
    assert nearest(name, known) == expected
