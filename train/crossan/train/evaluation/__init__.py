"""Ranks over the whole catalogue, and the figures made of them.

What belongs here: encoding, ranking, metrics, and the tables printed of them.
Nothing here changes a weight.
"""
