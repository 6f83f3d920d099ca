"""curate: raw text in, versioned corpora and what they were worth in next-word loss out."""

__version__ = "0.1.0"
