"""The heuristic families equal their plain definitions, whatever the text and however it lies in memory."""

from __future__ import annotations

import ast
import os
import random
import stat
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile
import naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import filters
from filters import FAMILIES, SIGNALS
from filters.language.codes import canonical
from filters.text import classes, ngrams
from filters.text.batches import valid
from filters.text.pages import most_newlines

HEURISTICS = tuple(naive.HEURISTICS)
FOLDER = Path(filters.__file__).parent
CURATE_DATA = os.environ.get("CURATE_DATA")
needs_data = pytest.mark.skipif(not CURATE_DATA, reason="CURATE_DATA names no folder of real text")


def column(texts: list[str | None]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def same(key: str, measured: float, defined: float) -> bool:
    """Equal to the last bit, but for the one sum of logarithms."""
    return measured == defined or key == "word_entropy" and abs(measured - defined) < 1e-9


def assert_equals_naive(texts: list[str], arrow: pa.Array | None = None) -> None:
    arrow = column(texts) if arrow is None else arrow
    for name, define in naive.HEURISTICS.items():
        measured = {key: values.to_pylist() for key, values in FAMILIES[name].measure(arrow).items()}
        for i, text in enumerate(texts):
            row = {key: values[i] for key, values in measured.items()}
            expected = define(text)
            wrong = {
                key: (row[key], value) for key, value in expected.items() if not same(key, row[key], value)
            }
            assert row.keys() == expected.keys()
            assert not wrong, f"{name} of {text[:200]!r}: (measured, defined) = {wrong}"


def random_text(random: np.random.Generator, size: int) -> str:
    pieces = [
        "the",
        "a",
        "b",
        "ab",
        "é",
        "中",
        "…",
        "...",
        ".",
        "-",
        "•",
        "#",
        "1",
        "²",
        "Ω",
        "\0",
        "😀",
        "a" * 9,
    ]
    breaks = [" "] * 12 + ["", "", "\n", "\n", "\n\n", *hostile.BREAKS, "\x1f", "\u3000", "\u2003", "\xa0"]
    some = random.choice(len(pieces), random.integers(1, 6), replace=False)  # few pieces, so n-grams repeat
    return "".join(
        pieces[some[random.integers(len(some))]] + breaks[random.integers(len(breaks))] for _ in range(size)
    )


def test_the_families_equal_their_definitions_on_hostile_text():
    assert_equals_naive(list(hostile.texts().values()))


def test_the_families_equal_their_definitions_on_random_text():
    random = np.random.default_rng(1)
    assert_equals_naive([random_text(random, int(size)) for size in random.integers(0, 300, 1500)])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=150), min_size=1, max_size=5))
def test_the_families_equal_their_definitions_on_any_text(texts):
    assert_equals_naive(texts)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text("ab \n\r.-…•\u2028\x85\u3000", max_size=200))
def test_the_families_equal_their_definitions_on_text_of_few_characters(text):
    assert_equals_naive([text])


@needs_data
def test_the_families_equal_their_definitions_on_real_text():
    table = pq.read_table(Path(str(CURATE_DATA)) / "web_mix_small.parquet", columns=["text"])
    assert_equals_naive(table["text"].to_pylist()[::4])


def test_every_character_has_the_classes_python_gives_it():
    kinds = classes.character_classes()
    for code in range(sys.maxunicode + 1):
        character, kind = chr(code), kinds[code]
        expected = (
            character.isspace() * classes.WHITESPACE
            | character.isalpha() * classes.ALPHABETIC
            | naive.is_punctuation(character) * classes.PUNCTUATION
            | character.isdecimal() * classes.DIGIT
            | character.isupper() * classes.UPPERCASE
            | (character in naive.TERMINAL) * classes.TERMINAL
        )
        assert kind == expected, hex(code)


def test_bytes_that_are_not_utf8_count_as_python_replaces_them():
    pieces = (*hostile.INVALID, "välid…".encode())
    assert_equals_naive([piece.decode(errors="replace") for piece in pieces], hostile.invalid_column(pieces))


def test_cutting_a_text_at_any_byte_measures_what_python_reads():
    whole = "é… 中\u2028-😀 \u3000 a\x85".encode() * 6
    pieces = tuple(whole[:cut] for cut in range(len(whole)))
    assert_equals_naive([piece.decode(errors="replace") for piece in pieces], hostile.invalid_column(pieces))


def test_a_sliced_column_gives_the_same_signals_as_the_whole():
    whole = column([*hostile.texts().values()])
    for name in HEURISTICS:
        for key, values in FAMILIES[name].measure(whole).items():
            assert FAMILIES[name].measure(whole[7:-5])[key].equals(values[7:-5]), key


def test_a_memory_map_gives_the_same_signals_as_fresh_memory(tmp_path):
    table = pa.table({"text": column([*hostile.texts().values()])})
    with (
        pa.OSFile(str(tmp_path / "texts.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=11)
    with pa.memory_map(str(tmp_path / "texts.arrow")) as source:
        mapped = pa.ipc.open_file(source).read_all()["text"]
        assert mapped.num_chunks > 1
        for name in HEURISTICS:
            assert FAMILIES[name].measure(mapped) == FAMILIES[name].measure(table["text"])


def test_a_column_of_strings_chunks_and_nulls_is_a_column_of_texts():
    texts = ["a b", None, "", "the end.\n"]
    plain = column([text or "" for text in texts])
    for name in HEURISTICS:
        expected = FAMILIES[name].measure(plain)
        assert FAMILIES[name].measure(pa.array(texts, pa.string())) == expected
        assert FAMILIES[name].measure(pa.chunked_array([texts[:1], texts[1:]], pa.large_string())) == expected


@pytest.mark.parametrize("name", HEURISTICS)
def test_no_documents_give_no_rows(name):
    for empty in (column([]), pa.chunked_array([], pa.large_string()), column(["a"])[1:]):
        assert {len(values) for values in FAMILIES[name].measure(empty).values()} == {0}


@pytest.mark.parametrize("name", HEURISTICS)
def test_what_a_family_measures_is_what_it_declares(name):
    family = FAMILIES[name]
    texts = column(["", *hostile.texts().values(), *hostile.huge(20_000).values()])
    measured = family.measure(texts)
    assert list(measured) == [signal.name for signal in family.signals]
    for signal in family.signals:
        values = measured[signal.name]
        assert values.type == signal.type
        assert values.null_count == 0
        assert values[0].as_py() == signal.empty
        assert signal.low is not None
        assert signal.high is not None
        assert signal.low <= min(values.to_pylist())
        assert max(values.to_pylist()) <= signal.high
        assert len(set(values.to_pylist())) > 2, f"{signal.name} hardly varies on hostile text"


def cpu_seconds(family: filters.Family, texts: pa.Array) -> float:
    begin = time.thread_time()
    family.measure(texts)
    return time.thread_time() - begin


@pytest.mark.parametrize("kind", hostile.huge(100))
def test_no_text_takes_quadratic_time(kind):
    small, large = (column([hostile.huge(size)[kind]]) for size in (100_000, 1_600_000))
    for name in HEURISTICS:
        family = FAMILIES[name]
        family.measure(small)
        short = min(cpu_seconds(family, small) for _ in range(3))
        long = min(cpu_seconds(family, large) for _ in range(2))
        assert long < 80 * short + 0.02, f"{name}: 16 times the text took {long / short:.0f} times as long"


@pytest.mark.parametrize(
    "kind", ["one line", "one-character words", "only newlines", "only NULs", "same line"]
)
def test_a_megabyte_of_hostile_text_equals_its_definition(kind):
    assert_equals_naive([hostile.huge(1_000_000)[kind]])


def test_what_is_named_in_many_chunks_through_growing_tables_and_by_a_map_of_pairs_equals_its_definition():
    """More words than one chunk, more pairs than are all named, of few words, of many, and of ones in copied runs."""
    random = np.random.default_rng(2)
    few = " ".join(f"w{k}" for k in random.integers(0, 300, ngrams.MANY + 5000))
    many = " ".join(f"word{k}" for k in random.integers(0, 30_000, ngrams.MANY + 5000))
    copies = "\n".join(" ".join(f"w{k + j}" for j in range(12)) for k in random.integers(0, 4000, 12_000))
    assert_equals_naive([few, many, copies])


@pytest.mark.slow  # how large a share is belongs to the kernel: it is compiled anew
def test_pairs_named_in_several_shares_count_as_those_of_one(tmp_path):
    code = f"""
import sys, pyarrow as pa, numpy as np
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import hostile
from filters.text import ngrams
ngrams.SHARE = SIZE or ngrams.SHARE
from filters.heuristics import repetition
words = np.random.default_rng(3).integers(0, 60, 4000)
texts = [*hostile.texts().values(), " ".join(f"w{{k}}" for k in words), "to be or not " * 900]
print([c.to_pylist() for c in repetition.measure(pa.array(texts, pa.large_string())).values()])
"""
    whole = run_python(code.replace("SIZE", "0"))
    assert whole == run_python(code.replace("SIZE", "64"), NUMBA_CACHE_DIR=str(tmp_path))


def colliding_words(count: int, hash_key: int) -> list[str]:
    """Different words of 16 letters with one hash: any first half, and the second half that makes up for it."""
    mix, again, whole = int(ngrams._MIX), int(ngrams._MIX_AGAIN), 2**64 - 1
    unmix = pow(mix, -1, 2**64)

    def of_first(half: bytes) -> int:
        value = (int.from_bytes(half, "little") ^ hash_key) * again & whole
        return value ^ value >> 32

    def of_second(half: bytes) -> int:
        value = (int.from_bytes(half, "little") + 16 & whole ^ hash_key) * mix & whole
        return value ^ value >> 32

    random = np.random.default_rng(1)
    words = [b"abcdefghijklmnop"]
    target = of_first(words[0][:8]) + of_second(words[0][8:])
    while len(words) < count:
        half = bytes(random.integers(33, 127, 8, dtype=np.uint8))
        wanted = target - of_first(half) & whole
        value = wanted ^ wanted >> 32
        word = half + ((value * unmix & whole ^ hash_key) - 16 & whole).to_bytes(8, "little")
        if all(33 <= byte < 127 for byte in word):
            words.append(word)
    return [word.decode() for word in words]


def test_words_of_the_same_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(ngrams, "KEY", np.uint64(12345))
    words = colliding_words(20, hash_key=12345)
    hashes = {
        key: {
            int(ngrams.key_of(np.frombuffer(word.encode() + bytes(64), np.uint8), 0, 16, np.uint64(key)))
            for word in words
        }
        for key in (12345, 54321)
    }
    assert len(hashes[12345]) == 1, "the words were to collide"
    assert len(hashes[54321]) == len(words), "words made for one key collide under another"
    assert_equals_naive([" ".join(words), "\n".join(words * 2), "\n\n".join(words * 3)])


def test_the_key_of_the_hashes_differs_by_process_and_shows_in_no_result():
    code = f"""
import hashlib, sys, pyarrow as pa
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import hostile
from filters.heuristics import repetition
from filters.text import ngrams
measured = repetition.measure(pa.array([*hostile.texts().values()], pa.large_string()))
print(ngrams.KEY, hashlib.sha256(repr([c.to_pylist() for c in measured.values()]).encode()).hexdigest())
"""
    (first_key, first), (second_key, second) = (run_python(code).split() for _ in range(2))
    assert first_key != second_key
    assert first == second


def test_threads_measure_the_same_as_one():
    texts = column([*hostile.texts().values()] * 20)
    for name in HEURISTICS:
        expected = FAMILIES[name].measure(texts)
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(FAMILIES[name].measure, [texts] * 4))
        assert results == [expected] * 4


@pytest.mark.parametrize("path", sorted((FOLDER / "profiles").glob("*.toml")), ids=lambda path: path.stem)
def test_a_profile_bounds_signals_that_exist_within_their_range(path):
    profile = tomllib.loads(path.read_text())
    assert profile["name"] == path.stem
    assert profile["source"]
    for table in (profile["keep"], *profile.get("language", {}).values()):
        for name, bound in table.items():
            if name == "language":
                assert [canonical(code) for code in bound]
            else:
                assert SIGNALS[name].low <= bound[0] <= bound[1] <= SIGNALS[name].high, name


def test_signals_are_the_signals_of_all_families():
    assert list(SIGNALS) == [signal.name for family in FAMILIES.values() for signal in family.signals]


def run_python(code: str, **environment: str) -> str:
    inherited = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_filters_loads_no_compiler():
    assert (
        run_python("import sys, filters; print('numba' in sys.modules, 'torch' in sys.modules)")
        == "False False"
    )


@pytest.mark.parametrize("order", ["filters, numba", "numba, filters"])
def test_kernels_are_kept_in_a_folder_named_after_what_they_inline(order, tmp_path):
    code = f"import {order}; from filters.text import pages; print(pages.longest_document._cache.cache_path)"
    kept = Path(run_python(code, XDG_CACHE_HOME=str(tmp_path)))
    assert kept.parent.parent == tmp_path / "curate"
    assert kept.parent.name.startswith("kernels-")


def test_a_second_process_compiles_nothing(tmp_path):
    code = """
import numpy as np
from filters.text.pages import longest_document
longest_document(np.array([0, 3, 9]))
print(sum(longest_document.stats.cache_hits.values()), longest_document(np.array([0, 3, 9])))
"""
    first, second = (run_python(code, XDG_CACHE_HOME=str(tmp_path)) for _ in range(2))
    assert (first, second) == ("0 6", "1 6")


def test_a_chosen_cache_folder_is_left_alone_but_not_one_of_another_version(tmp_path):
    code = "import os, filters; print(os.environ['NUMBA_CACHE_DIR'])"
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)) == str(tmp_path)
    stale = str(tmp_path / "curate" / "kernels-0123456789abcdef")
    assert run_python(code, NUMBA_CACHE_DIR=stale, XDG_CACHE_HOME=str(tmp_path)) != stale


CHOSEN = "import os, filters; print(os.environ['NUMBA_CACHE_DIR'])"


def test_kernels_are_kept_where_nobody_else_can_put_one(tmp_path):
    """numba runs what it finds there, so a folder that another user could have filled is passed over."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    temporary.mkdir()
    given = {"XDG_CACHE_HOME": str(home), "TMPDIR": str(temporary)}
    first = Path(run_python(CHOSEN, **given))
    assert first.parent == home / "curate"
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (first, first.parent)} == {0o700}
    first.chmod(0o777)  # anyone could have written to it
    second = Path(run_python(CHOSEN, **given))
    assert second.parent == temporary / f"curate-{os.getuid()}"
    second.parent.chmod(0o770)
    third = run_python(
        f"{CHOSEN}; print(oct(os.stat(os.environ['NUMBA_CACHE_DIR']).st_mode & 0o777))", **given
    )
    folder, mode = third.splitlines()
    assert Path(folder).parent.parent == temporary
    assert Path(folder).parent not in (second.parent, first.parent)
    assert mode == "0o700"
    assert not Path(folder).exists()  # it goes with its process


def test_a_folder_of_kernels_that_anyone_may_move_away_is_passed_over(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    chosen = Path(run_python(CHOSEN, XDG_CACHE_HOME=str(tmp_path / "cache"), TMPDIR=str(tmp_path)))
    assert chosen.parent == tmp_path / f"curate-{os.getuid()}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes folders of other users")
def test_a_folder_of_kernels_that_is_anothers_is_passed_over(tmp_path):
    home = tmp_path / "curate"
    home.mkdir(mode=0o755)
    os.chown(home, 12345, 12345)
    assert Path(run_python(CHOSEN, XDG_CACHE_HOME=str(tmp_path))).parent != home


def test_a_child_takes_the_folder_of_kernels_that_its_parent_chose(tmp_path):
    name = Path(run_python(CHOSEN, XDG_CACHE_HOME=str(tmp_path))).name
    chosen = tmp_path / "fresh" / name
    chosen.mkdir(parents=True, mode=0o700)
    assert run_python(CHOSEN, NUMBA_CACHE_DIR=str(chosen), XDG_CACHE_HOME=str(tmp_path)) == str(chosen)


def compiled_names(tree: ast.Module) -> set[str]:
    """What a file compiles into the kernels that name it: functions with a decorator that compiles, and masks."""
    marks, makers = (
        ("kernel", "loop", "inlined", "njit", "instruction"),
        ("in_ranges", "beginnings_of", "copier", "any_of"),
    )
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            compiles = any(
                mark in ast.unparse(decorator) for decorator in node.decorator_list for mark in marks
            )
            names |= {node.name} if compiles else set()
        elif isinstance(node, ast.Assign) and any(maker in ast.unparse(node.value) for maker in makers):
            names |= {name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)}
    return names


def test_compiled_functions_are_shared_only_by_files_that_name_the_cache():
    paths = {
        ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts): path for path in FOLDER.rglob("*.py")
    }
    trees = {module: ast.parse(path.read_text()) for module, path in paths.items()}
    compiled = {module: compiled_names(tree) for module, tree in trees.items()}
    assert {"find_words", "decode"} <= compiled["filters.text.pages"]
    assert "newline_mask" in compiled["filters.text.masks"]
    inlined = filters.inlined_files()
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            taken = {node.module: {name.name for name in node.names}}
            for name in node.names:  # of a file that is taken whole: what is named behind its name and a dot
                taken[f"{node.module}.{name.name}"] = {
                    part.attr
                    for part in ast.walk(tree)
                    if isinstance(part, ast.Attribute)
                    and ast.unparse(part.value) == (name.asname or name.name)
                }
            for source, names in taken.items():
                shared = names & compiled.get(source, set())
                assert not shared or paths[source] in inlined, (
                    f"{module} takes {shared} from {source}: add that file to filters.INLINED, "
                    "or numba may run an old version of them"
                )


def test_every_pattern_of_files_that_name_the_cache_finds_some():
    assert all(list(FOLDER.glob(pattern)) for pattern in filters.INLINED)


def test_most_newlines_are_those_of_the_document_that_has_most():
    rng = random.Random(5)
    for _ in range(300):
        texts = ["".join(rng.choices("a\n", k=rng.choice((0, 1, 63, 64, 65, 200)))) for _ in range(4)]
        assert most_newlines(*valid(pa.array(texts, pa.large_string()))) == max(
            text.count("\n") for text in texts
        )
