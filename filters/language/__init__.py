"""The language of documents and of their lines, and the codes of languages."""
