"""Damage, kills, two processes at once and shares: a small part of what `make fuzz` and `make kill` try."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from faults import damage, guided

TESTS = Path(__file__).parents[1]
BUDGET = {"FUZZ_TRIES": "30", "KILLS": "20", "PAIRS": "1", "SHARES": "1"}


def test_nothing_damaged_killed_or_written_twice_is_taken_for_whole():
    variables = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"} | BUDGET
    command = [sys.executable, "-m", "faults", "damage", "kills", "pairs", "shares"]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    said = done.stdout.splitlines()
    assert "0 bad of 30 tries" in said
    assert any(line.endswith("after 20 kills") for line in said)
    assert any(line.startswith("0 bad of") and line.endswith("pairs") for line in said)
    assert "0 bad of 1 rounds of 8 shares" in said


def test_whatever_a_reader_is_given_it_reads_or_refuses(tmp_path):
    names = guided.names()
    for number in range(600):
        chance = random.Random(number)
        name = names[number % len(names)]
        raw = chance.choice(guided.SEEDS[name])
        for _ in range(chance.randrange(3)):
            raw = chance.choice(list(damage.DAMAGES.values()))(raw, chance)
        guided.read(name, chance.randrange(256), raw, tmp_path)
