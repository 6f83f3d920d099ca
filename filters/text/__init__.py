"""What kernels see of a text: bytes of a page, characters, words, tokens, n-grams and units."""
