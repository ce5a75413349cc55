"""What a run folder says of data on which its run cannot be resumed."""

import shutil

import pytest

from crossan.cache_schema.errors import IncompatibleError
from support.commands import train_in
from support.fabricated import make_sequences, write_rows, write_small

QUICK = ("model.width=16", "model.bottleneck_dim=8", "max_epochs=1")
ITEMS = [f"i{topic}{item}" for topic in range(4) for item in range(10)]


def _grow(folder, *, has_new_item):
    """Give the dataset another user, and an item of the stores that it did not have."""
    items = [*ITEMS, "i010"] if has_new_item else ITEMS
    more = [
        ("v000", item, time) for time, item in enumerate(["i00", "i01", "i02", "i03", items[-1]])
    ]
    shutil.rmtree(folder / "d")
    write_rows(folder / "d", [*make_sequences(), *more], items=items)


@pytest.mark.parametrize("has_new_item", [False, True])
@pytest.mark.parametrize("kind", ["sasrec", "popularity"])
def test_the_remedy_for_a_grown_dataset_can_be_followed(tmp_path, kind, has_new_item):
    place = write_small(tmp_path)
    train_in(place, QUICK, "--model", kind)
    _grow(place, has_new_item=has_new_item)
    with pytest.raises(IncompatibleError) as refused:
        train_in(place, QUICK, "--model", kind, "--resume")
    words = refused.value.remedy.split(": ", 1)[1].split()
    assert ("--init" in words) == (kind != "popularity")  # counts are no weights to begin from
    assert words[words.index("--out") + 1] == f"{place / 'r'}-2"
    init = words[: words.index("--out")]
    train_in(place, QUICK, "--model", kind, *init, out="r-2")
    assert (place / "r-2" / "result.json").is_file()
