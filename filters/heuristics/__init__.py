"""Signals that plain rules measure: words, lines, repetition, markup, what is private, the user's lists."""
