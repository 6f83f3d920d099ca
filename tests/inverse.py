"""A law read the other way."""

from __future__ import annotations

import math

from train.fits.laws import Law


def tokens_for(law: Law, loss: float) -> float:
    """Tokens at which the law reaches this loss; infinite at E and below."""
    if loss <= law.E or law.B <= 0:
        return math.inf
    return math.exp((math.log(law.B) - math.log(loss - law.E)) / law.b)
