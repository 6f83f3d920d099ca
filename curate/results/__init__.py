"""Figures with intervals, and words for them: what sweeps, studies and the page share."""
