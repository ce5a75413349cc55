"""The dashboard: pages made on the server, which need no script.

``records`` and ``traces`` read what pages show, each page's own module turns it into the words and
numbers of a template, and ``rendering`` fills that. ``static/live.js`` only fetches a page again when
the server says that something has changed.
"""
