"""Write the built-in sample, a small dataset with media in real codecs, from a seed.

Every topic shows in every modality, and a user's next item depends on the
topic. So a model that reads content can rank items that it has never seen.
"""
