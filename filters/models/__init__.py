"""Signals measured with a file that was made of texts: a classifier, an n-gram model, an index of evaluation texts."""
