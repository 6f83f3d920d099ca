"""How kernels are compiled: what every compiled function here is decorated with."""

from __future__ import annotations

from typing import Any

import numba

# A kernel may allocate. A loop allocates nothing and calls nothing that does, so it is compiled without reference
# counting: counting the arrays that small functions pass on costs more, in atomic instructions, than they do.
kernel = numba.njit(cache=True, nogil=True, error_model="numpy")
_UNCOUNTED: Any = {"nogil": True, "error_model": "numpy", "_nrt": False}
loop = numba.njit(cache=True, **_UNCOUNTED)
inlined = numba.njit(forceinline=True, **_UNCOUNTED)
