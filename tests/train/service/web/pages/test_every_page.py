"""Every page with rows of all states, with nothing, and with hostile text in every place."""

import re

import pytest

from support.dashboard import HOSTILE, all_pages, empty_pages, form_pages
from support.page_rules import DashboardPage, broken_rules

PAGES = all_pages() | form_pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_keeps_the_rules(name):
    assert broken_rules(PAGES[name]) == []


@pytest.mark.parametrize("name", empty_pages())
def test_a_page_without_rows_keeps_the_rules_and_says_what_is_missing(name):
    page = empty_pages()[name]
    assert broken_rules(page) == []
    assert name == "promote" or 'class="empty"' in page


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_text(text):
    for name, content in (all_pages(text) | form_pages(text)).items():
        assert broken_rules(content) == [], name
        plain = PAGES[name]
        # The same elements as with harmless text: nothing of it has become an element.
        assert set(_tags(content)) <= {*_tags(plain), "small", "bdi", "p", "span", "code"}, name
        assert "alert(" not in re.sub(r">[^<]*<|=\"[^\"]*\"", "", content), name


def test_hostile_text_is_shown():
    text = HOSTILE[0]
    shown = {name for name, page in all_pages(text).items() if text in DashboardPage(page).words()}
    assert set(all_pages()) - shown == {"promote", "rollback", "remove"}  # which show numbers alone


def test_text_from_right_to_left_turns_nothing_around_it():
    text = HOSTILE[5]
    for name, content in (all_pages(text) | form_pages(text)).items():
        for piece, elements in DashboardPage(content).placed:
            if "\u202e" in piece:
                assert {"bdi", "textarea", "option"} & set(elements), (name, elements)


@pytest.mark.parametrize("role", ["read", "submit", "admin"])
def test_nobody_is_shown_a_button_that_would_be_refused(role):
    allowed = {
        "read": {"/logout", "/compare", "/recommend"},
        "submit": {"/logout", "/compare", "/recommend", r"/runs/\d+/cancel", r"/nights/\d+/cancel", r"/triggers/[\w-]+/run"},
    }  # fmt: skip
    links = {
        "read": set(),
        "submit": {"/runs/new", "/nights/new"},
    }
    for name, content in all_pages(role=role).items():
        if name in {"promote", "rollback", "remove"} or role == "admin":
            continue
        page = DashboardPage(content)
        for form in page.all("form"):
            assert any(re.fullmatch(one, form["action"]) for one in allowed[role]), (name, form)
        asking = {one["href"] for one in page.all("a")} & {
            "/runs/new",
            "/nights/new",
            "/triggers/new",
        }
        assert asking <= links[role], name
        assert not re.search(r'href="[^"]*/(promote|rollback|remove)"', content), name


def test_an_admin_can_reach_everything_that_forms_do():
    addresses = set()
    for content in all_pages().values():
        page = DashboardPage(content)
        addresses |= {one["action"] for one in page.all("form")}
        addresses |= {one["href"] for one in page.all("a")}
    for address in (
        "/logout", "/runs/new", "/runs/6/cancel", "/nights/new", "/recommend", "/nights/4/cancel", "/models/3/promote",
        "/aliases/production/rollback", "/triggers/new", "/triggers/nightly/run", "/triggers/nightly/remove",
    ):  # fmt: skip
        assert address in addresses


def test_the_page_that_one_looks_at_is_marked_in_the_navigation():
    page = DashboardPage(PAGES["models"])
    marked = [one["href"] for one in page.all("a") if one.get("aria-current") == "page"]
    assert marked == ["/models"]


def test_each_state_is_said_in_words_beside_its_mark():
    for content in PAGES.values():
        for word, text in re.findall(r'<span class="state ([^"]*)">([^<]*)</span>', content):
            assert text.strip()
            assert text.replace(" ", "-") == word or word in {
                "sound",
                "incomplete",
                "waiting",
                "failed",
            }


def test_every_time_has_its_exact_one_beside_it():
    for content in PAGES.values():
        for attributes in DashboardPage(content).all("time"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", attributes["datetime"])
            assert attributes["title"]


def _tags(content):
    return [tag for tag, _ in DashboardPage(content).elements]
