"""What the items of a dataset contain, and whether a store was made from it.

What belongs here: which medium an item has of a modality, content digests, and
the comparison of those with what a store records. What does not: reading
a medium, which is `crossan.extract.media`.
"""
