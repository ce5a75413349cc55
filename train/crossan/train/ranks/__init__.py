"""Several processes, one run: the step shared among ranks, and what the first of them does for all.

Loss and gradients are those of one process: one list of unique items a step,
its encoding and the users shared among the ranks, item vectors gathered with
their gradient, losses divided by the predictions of all and summed. With one
process nothing here communicates.
"""
