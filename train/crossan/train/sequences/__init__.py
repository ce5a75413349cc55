"""The items of every user in time order.

What belongs here: the three parts of a split, how often items
occur, and how sequences are padded. No model and no hidden states.
"""
