"""The built-in sample: a small dataset with real-coded media, written by code from a seed.

Every topic shows in every modality, and a user's next item depends on the
topic; so a model that reads content can rank items it has never seen.
"""
