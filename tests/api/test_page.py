"""docs/api.md is that of the docstrings of today."""

from pathlib import Path

from crossan.api.page import api_page

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == api_page(), (
        "python -m crossan.api.page > docs/api.md makes it anew"
    )


def test_the_page_shows_what_it_is_made_of():
    """A pattern that matches nothing would leave sections out."""
    page = api_page()
    for part in (
        "### `Run.recommend`",
        "open_run(\n    path: Path | str,\n    *,\n    dataset: Path | str | None = None,\n",
        "| `history` | Item ids, oldest first. |",
        "| `UnknownIdError` | No such user, or an item that is not in the catalogue. |",
        '>>> run.recommend(user="u001", top=5).num_rows\n5\n```',
        "- `positive`: Column of the item that follows, `(predictions,)` int64.",
        "| `dataset`, `cache` | Where the run's data lie now",
    ):
        assert part in page, part
