"""Ids that are written differently meet only where they can mean nothing else."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.common.datasets.joins import match_ids
from support.counts import of_full


@pytest.mark.parametrize(
    ("left", "right", "partners"),
    [
        (["3.0"], ["3"], {"3.0": "3"}),
        (["00003"], ["3"], {"00003": "3"}),
        (["3"], ["00003"], {"3": "00003"}),
        (["0"], ["00"], {"0": "00"}),
        (["e\u0301"], ["\xe9"], {"e\u0301": "\xe9"}),
        ([" 3"], ["3"], {" 3": "3"}),
        (["03.0"], ["3"], {"03.0": "3"}),
        # An id that has its partner is nobody else's.
        (["3", "3.0"], ["3"], {"3": "3"}),
        (["3", "03"], ["3", "003"], {"3": "3"}),
        # Two that could both be meant: neither is taken.
        (["03", "003"], ["3"], {}),
        (["3"], ["03", "003"], {}),
        # Other texts stay other texts.
        (["3.5", "a3", "3a", "1e3", "-3"], ["3", "a03", "1000", "-03"], {}),
        ([], ["3"], {}),
    ],
)
def test_partners_by_hand(left, right, partners):
    matching = match_ids(left, right)
    assert matching.partners == partners
    assert matching.loosely.keys() == {a for a, b in partners.items() if a != b}


def looks(text):
    """Return an id as the loosest comparison sees it."""
    text = text.strip().replace("e\u0301", "\xe9")
    if "." in text and text.partition(".")[0].isdecimal() and set(text.partition(".")[2]) <= {"0"}:
        text = text.partition(".")[0]
    return text.lstrip("0") or "0" if text.isdecimal() else text


SPELLINGS = [
    f"{blank}{zeros}{digit}{fraction}"
    for blank in ("", " ")
    for zeros in ("", "0")
    for digit in "03"
    for fraction in ("", ".0")
]
IDS = st.sets(st.sampled_from([*SPELLINGS, "e\u0301", "\xe9", "a"]), min_size=1, max_size=8)


@settings(max_examples=of_full(100, 33))
@given(IDS, IDS)
def test_every_pair_is_the_only_one_that_can_be_meant(left, right):
    partners = match_ids(left, right).partners
    assert {text: text for text in left & right}.items() <= partners.items()
    assert len(set(partners.values())) == len(partners)
    for mine, theirs in partners.items():
        assert looks(mine) == looks(theirs)
    # Nothing that is left over on both sides could only have meant one another.
    lefts, rights = Counter(map(looks, left)), Counter(map(looks, right))
    for mine in left - partners.keys():
        for theirs in right - set(partners.values()):
            if looks(mine) == looks(theirs):
                assert max(lefts[looks(mine)], rights[looks(theirs)]) > 1
