"""What changes which segments a version lists: merging, compacting, collecting, repairing.

Belongs here: new versions made from segments that are there. Does not belong
here: computing hidden states (extract) and moving segments between places (sharing).
"""
