"""What every page of the dashboard has to keep, told from its HTML by a strict parser."""

from __future__ import annotations

import re
from itertools import pairwise

from support.pages import Page

_VOID_ROLES = {"region"}


class DashboardPage(Page):
    """A page with the words that stand in each element of some kinds."""

    def __init__(self, content):
        self.headings, self._heading = [], None
        self.placed = []
        """Each piece of text with the elements that it stands in."""
        super().__init__(content)

    def handle_starttag(self, tag, attributes):
        if re.fullmatch("h[1-6]", tag):
            self._heading = [int(tag[1]), ""]
            self.headings.append(self._heading)
        super().handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        if re.fullmatch("h[1-6]", tag):
            self._heading = None
        super().handle_endtag(tag)

    def handle_data(self, text):
        self.placed.append((text, tuple(self.open)))
        if self._heading is not None:
            self._heading[1] += text
        super().handle_data(text)


def broken_rules(content):
    """Return what is wrong with a page, in words; a parser's refusal of what is not closed is raised."""
    page = DashboardPage(content)
    ids = page.ids()
    return [
        *(f"id {one} twice" for one in {one for one in ids if ids.count(one) > 1}),
        *_about_the_page(page, content),
        *_about_scripts(page, content),
        *_about_headings(page),
        *_about_forms(page, ids),
        *_about_tables(page, content),
    ]


def _about_the_page(page, content):
    if not content.startswith("<!doctype html>"):
        yield "no doctype"
    if page.all("html") != [{"lang": "en"}]:
        yield "no language"
    for tag in ("main", "header", "footer", "title"):
        if len(page.all(tag)) != 1:
            yield f"{len(page.all(tag))} of <{tag}>"
    skip = next((one for one in page.all("a") if one.get("class") == "skip"), {})
    if skip.get("href", "#")[1:] not in page.ids():
        yield "no way to skip to the content"
    if not any("width=device-width" in one.get("content", "") for one in page.all("meta")):
        yield "no viewport"
    for nav in page.all("nav"):
        if "aria-label" not in nav:
            yield "a nav without a name"
    for element, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            if name in attributes and attributes[name] not in page.ids():
                yield f"{name} of <{element}> leads to no {attributes[name]}"
        if attributes.get("role") in _VOID_ROLES and not attributes.get("aria-label"):
            yield f"<{element}> is a region without a name"


def _about_scripts(page, content):
    if page.all("script") != [{"src": "/static/live.js", "defer": None}]:
        yield f"scripts: {page.all('script')}"
    if page.all("style"):
        yield "a style in the page"
    for element, attributes in page.elements:
        for name, value in attributes.items():
            if name.startswith("on") or name == "style":
                yield f"<{element} {name}>"
            if name in {"href", "src", "action", "formaction"} and not re.match(
                r"/(?!/)|#", value or ""
            ):
                yield f"<{element} {name}={value!r}> leads elsewhere"


def _about_headings(page):
    levels = [level for level, _ in page.headings]
    if not levels or levels[0] != 1 or levels.count(1) != 1:
        yield f"headings: {levels}"
    for before, after in pairwise(levels):
        if after > before + 1:
            yield f"h{after} below h{before}"
    for level, text in page.headings:
        if not text.strip():
            yield f"an empty h{level}"


def _about_forms(page, ids):
    labels = {one.get("for") for one in page.all("label")}
    yield from (f"a label for no {one}" for one in labels if one not in ids)
    for tag in ("input", "select", "textarea"):
        for one in page.all(tag):
            if one.get("type") != "hidden" and one.get("id") not in labels:
                yield f"<{tag}> without a label: {one}"
    for one in page.all("progress"):
        if "aria-label" not in one:
            yield "a progress without a name"
    for one in page.all("form"):
        if not one.get("action") or one.get("method") not in {"get", "post"}:
            yield f"form: {one}"
    for one in page.all("svg"):
        is_named = one.get("role") == "img" and one.get("aria-label")
        if not is_named and one.get("aria-hidden") != "true":
            yield "a drawing without words"


def _about_tables(page, content):
    tables = re.findall(r"<table.*?</table>", content, re.S)
    for table in tables:
        if "<caption" not in table or 'scope="col"' not in table or 'scope="row"' not in table:
            yield f"a table without caption or headers: {table[:120]}"
        if re.search(r"<th(?![^>]*scope=)[ >]", table):
            yield "a header without scope"
