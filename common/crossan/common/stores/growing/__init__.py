"""Changing which segments a version lists, by merging, compacting, collecting and repairing.

Belongs here: new versions made from existing segments. Does not belong
here: computing hidden states (extract) and moving segments between places (sharing).
"""
