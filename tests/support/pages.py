"""What a page of HTML holds, by a parser that refuses what is not closed in order."""

from __future__ import annotations

import base64
import html
import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input"}
DRAWN = {"path", "use", "rect", "circle", "line", "polygon", "ellipse"}


class Page(HTMLParser):
    """Elements, ids, addresses and text of a page."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.content, self.open, self.elements, self.text = content, [], [], []
        self.feed(content)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        opened = self.open.pop() if self.open else None
        assert opened == tag, f"</{tag}> closes {opened}"

    def handle_data(self, text):
        self.text.append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def downloads(self):
        """Return the content of every file that the page offers, by name."""
        links = [one for one in self.all("a") if "download" in one]
        return {
            one["download"]: base64.b64decode(one["href"].partition("base64,")[2]) for one in links
        }

    def plots(self):
        """Return the SVG of every figure in the page."""
        return re.findall(r'<div class="plot[^>]*>(<svg.*?</svg>)</div>', self.content, re.S)

    def words(self):
        return html.unescape(re.sub(r"\s+", " ", " ".join(self.text)))


def marks(svg):
    """Return how many shapes with a colour of a series a drawing has: dots, lines, bars, cells."""
    from crossan.train.report.figures import COLOURS

    shapes = re.findall(r"<(?:path|use)[^>]*>", svg)
    return sum(any(colour in shape for colour in COLOURS) for shape in shapes)
