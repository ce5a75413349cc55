"""Media to model inputs to hidden states to stores: the only part that decodes media or runs a backbone."""
