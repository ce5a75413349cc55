"""Turn the media of a dataset into stores of hidden states.

This is the only part that decodes media or runs a backbone.
"""
