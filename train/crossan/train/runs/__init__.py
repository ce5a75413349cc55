"""A run from its settings to ``result.json``.

What belongs here: loading what settings name, and the order in which a run is
checked, trained and judged.
"""
