"""fastText classifiers: read, applied bit for bit as the library applies them, and trained."""
