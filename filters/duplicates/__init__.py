"""Documents, lines and runs of words that stand in a pool more than once."""
