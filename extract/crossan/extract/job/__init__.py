"""One extraction job: what there is to do, in which batches, and the loop that does it.

Nothing here knows a container format, a backbone family or a byte of the store:
those are `crossan.extract.media`, `crossan.extract.backbones` and `crossan.common.stores`.
"""
