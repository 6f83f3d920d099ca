"""What a huge document takes: so many bytes of memory for each of its own, beyond the text itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Six words of some six letters a line, all of them in use; said again once, so that n-grams live as long as they can.
SCRIPT = """
import gc, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from filters import FAMILIES

family = FAMILIES[sys.argv[1]]
beside = {taken: pa.nulls(1, pa.string()) for taken in family.takes}
family.measure(pa.array(["One text.\\nAnd a line."], pa.large_string()), **beside)  # loads what is compiled
words = [f"w{number:05x}" for number in range(1 << 15)]
random = np.random.default_rng(1)
lines = [" ".join(words[i] for i in row) for row in random.integers(len(words), size=(300_000, 6))]
texts = pa.array(["\\n".join(lines + lines)], pa.large_string())
del lines
gc.collect()

def megabytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e3

Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use now
before = megabytes("VmRSS")
family.measure(texts, **beside)
print((megabytes("VmHWM") - before) * 1e6 / len(texts[0].as_buffer()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc")
@pytest.mark.parametrize(
    ("family", "most"),
    [
        ("repetition", 5.2),
        ("unicode_repetition", 5),
        ("dclm", 5.8),
        ("words", 3.5),
        ("c4", 2.4),
        ("language", 0.5),
    ],
)
def test_memory_for_each_byte_of_a_huge_document(family, most):
    run = subprocess.run([sys.executable, "-c", SCRIPT, family], capture_output=True, text=True, check=True)
    assert float(run.stdout) < most
