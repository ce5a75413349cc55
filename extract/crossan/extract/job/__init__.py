"""Plan one extraction job, and do it.

Nothing here knows a container format, a backbone family or a byte of the store:
those are `crossan.extract.media`, `crossan.extract.backbones` and `crossan.common.stores`.
"""
