"""What [signals] and the levels ask for is measured: models made of the manifest's own documents, signals of
the user's own, bounds by language; and what cannot be measured is said."""

from __future__ import annotations

import json
import math
import shutil
import sys

import pyarrow as pa
import pytest
from click.testing import CliRunner
from conftest import MANIFEST, write_manifest

from curate.cli import main
from curate.commands.explain import explain
from curate.commands.plan import plan
from curate.commands.summary import plan_text
from curate.engine import open_engine
from curate.errors import CurateError, ManifestError
from curate.manifest.reader import load_manifest
from curate.signals import custom
from curate.signals.edits import edited
from curate.signals.values import inside
from curate.spec.bounds import parse_bound
from curate.steps import annotate_all, build
from curate.store import Store
from filters.language import documents

MODELS = """
[signals]
language = true
near_duplicates = { similarity = 0.8 }
topics = { train = { source = "docstrings" }, bytes = "40 kB", topics = 4 }
quality = { positive = { source = "docstrings" }, negative = { source = "notes", keep = { word_count = [1, inf] } } }
perplexity = { train = { keep = { word_count = [10, inf] } }, bytes = "50 kB" }
evaluation_overlap = { answer = "reply" }

[[evaluation]]
name = "exam"
format = "jsonl"
path = "exam.jsonl"
text = "question"
columns = ["reply"]
"""
EXAM = "Wait for the single Future or coroutine to complete, with timeout. Coroutine will be wrapped in what?"
BOUNDS = "keep = { word_count = [8, inf], quality_score = [0.2, 1], perplexity = [1, 1e6], contaminated_word_ratio = [0, 0.5]"


def manifest_with_models(folder, text: str = ""):
    (folder / "exam.jsonl").write_text(json.dumps({"question": EXAM, "reply": ["task"]}) + "\n")
    signals = MANIFEST[MANIFEST.index("[signals]") : MANIFEST.index("[[level]]")]
    whole = MANIFEST.replace(signals, text or MODELS, 1).replace("keep = { word_count = [8, inf]", BOUNDS, 1)
    return write_manifest(folder, whole)


def annotated(path, folder, workers: int = 1):
    return annotate_all(Store(folder / "store"), load_manifest(path), open_engine("local", workers))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return build(
        Store(folder / "store"), load_manifest(manifest_with_models(folder)), open_engine("local", 2)
    )


def test_the_lock_says_what_each_model_was_made_of_and_what_it_is_worth(built):
    models = built.lock["models"]
    assert models["quality"]["made_of"]["positive"]["documents"] > 100
    assert models["quality"]["auc"] > 0.9
    assert len(models["quality"]["thresholds"]) == 6
    assert models["perplexity"]["made_of"]["train"]["bytes"] >= 50_000
    assert models["contamination"]["items"] == 1
    assert 1 < len(models["topics"]["topics"]) <= 4
    assert set(models["contamination"]["evaluations"]) == {"exam"}
    overlap = models["evaluation_overlap"]
    assert (overlap["items"], overlap["with_answer"], overlap["with_passage"]) == (1, 1, 0)
    assert set(overlap["evaluations"]) == {"exam"}


def test_the_classifier_tells_its_two_sources_apart(built):
    a = built.annotated
    score = a.values.column("quality_score").to_numpy()
    docstrings = a.pool.source == a.pool.sources.index("docstrings")
    assert score[docstrings].mean() > score[~docstrings].mean() + 0.3


def test_a_document_that_holds_an_evaluation_text_shows_where_and_which(built):
    a = built.annotated
    items = a.values.column("contamination_item").to_pylist()
    (row,) = [row for row, item in enumerate(items) if item is not None]
    text = a.pool.parts[int(a.pool.part[row])].table(["text"])["text"][int(a.pool.row[row])].as_py()
    (span,) = a.values.column("contamination_spans")[row].as_py()
    assert "Wait for the single Future" in text.encode()[span["start"] : span["end"]].decode()
    assert items[row].startswith("exam/")
    overlapping = a.values.column("evaluation_overlap_item").to_pylist()
    assert [row for row, item in enumerate(overlapping) if item is not None] == [row]
    assert a.values.column("evaluation_overlap")[row].as_py() > 0.9
    assert a.values.column("evaluation_answer_found")[row].as_py() == 1.0  # "wrapped in Task"


def test_the_same_sources_make_the_same_models_and_lock_in_another_store(built, tmp_path):
    again = build(
        Store(tmp_path / "store"), load_manifest(manifest_with_models(tmp_path)), open_engine("local", 1)
    )
    assert again.lock == built.lock


def test_a_build_that_is_done_makes_no_model_again(built, monkeypatch):
    monkeypatch.setattr("filters.models.quality.train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr("filters.models.perplexity.train", lambda *_, **__: pytest.fail("trained again"))
    a = built.annotated
    assert build(a.store, a.manifest, a.engine).lock == built.lock


def test_a_model_that_was_tampered_with_is_made_again(tmp_path):
    path = manifest_with_models(tmp_path)
    before = annotated(path, tmp_path).signals.models
    (model,) = (tmp_path / "store" / "models" / "quality").glob("*.model")
    model.write_bytes(b"broken")
    assert annotated(path, tmp_path).signals.models == before


def test_a_level_keeps_topics_by_name_and_a_name_of_none_is_refused(built, tmp_path):
    topics = built.lock["models"]["topics"]["topics"]
    one = sorted(topics)[0]
    for name in (one, "no " + one):
        recipe = MODELS[MODELS.index("topics =") : MODELS.index("quality =")]
        text = MANIFEST.replace("[signals]\n", f"[signals]\n{recipe}").replace(
            "keep = { word_count = [8, inf]", f'keep = {{ topic_terms = ["{name}"]', 1
        )
        if name == one:
            kept = (
                annotated(write_manifest(tmp_path, text), tmp_path).values.column("topic_terms").to_pylist()
            )
            assert 0 < kept.count(one) < len(kept)
        else:
            with pytest.raises(CurateError, match=f'"{name}" is no topic'):
                annotated(write_manifest(tmp_path, text), tmp_path)


def test_a_model_file_is_used_as_it_is(built, tmp_path):
    model = built.annotated.manifest.path.parent / "store" / "models" / "quality"
    (file,) = model.glob("*.model")
    text = MODELS.replace(MODELS[MODELS.index("quality =") : MODELS.index("perplexity =")],
                          f'quality = {{ model = "{file}" }}\n', 1)  # fmt: skip
    used = annotated(manifest_with_models(tmp_path, text), tmp_path)
    theirs = built.annotated.values.column("quality_score")
    assert used.values.column("quality_score") == theirs


MISTAKES = [
    ('source = "docstrings" }', 'source = "docs" }', '"docs" is no source'),
    ('{ source = "notes", keep = { word_count = [1, inf] } }', "7", 'write { source = "books" }'),
    ("word_count = [1, inf]", "wrod_count = [1, inf]", 'did you mean "word_count"'),
    ('positive = { source = "docstrings" }, ', "", "positive is missing"),
    ("word_count = [1, inf]", "duplicate = false", "duplicate: bound what is measured of a document alone"),
    ('bytes = "50 kB"', "order = 0", "order = 0 is not positive"),
    ('bytes = "50 kB"', 'ordre = 2, bytes = "50 kB"', 'did you mean "order"'),
    ('perplexity = { train', 'perplexity = { model = "no.bin", train', 'unknown key "train"'),
    ('perplexity = { train = { keep = { word_count = [10, inf] } }, bytes = "50 kB" }',
     'perplexity = { model = "no.bin" }', "no.bin: no such file"),
    (MODELS[MODELS.index("perplexity") : MODELS.index("\n\n[[eval")], "", "add perplexity = { ... } to [signals]"),
    ('answer = "reply"', 'answer = "replies"', 'add columns = ["replies"] to [[evaluation]]'),
    ('answer = "reply"', 'anser = "reply"', 'did you mean "answer"'),
    (MODELS[MODELS.index("evaluation_overlap") :], "", "contaminated_word_ratio is not measured"),
    (MODELS[MODELS.index("[[evaluation]]") :], "", "names no text to look in; add [[evaluation]]"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "said"), MISTAKES, ids=[said for *_, said in MISTAKES])
def test_a_mistake_in_a_recipe_is_one_error_that_says_where_what_and_the_fix(tmp_path, right, wrong, said):
    assert right in MODELS
    path = manifest_with_models(tmp_path, MODELS.replace(right, wrong, 1))
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('{ source = "notes", keep = { word_count = [1, inf] } }', '{ source = "docstrings" }', "are positive and negative"),
        ("word_count = [1, inf]", "word_count = [100000, inf]", "no document is negative"),
    ],
)  # fmt: skip
def test_samples_that_overlap_or_are_empty_are_refused_before_training(tmp_path, right, wrong, said):
    path = manifest_with_models(tmp_path, MODELS.replace(right, wrong, 1))
    with pytest.raises(CurateError, match=said):
        annotated(path, tmp_path)


# ------------------------------------------------------------------------------------------- signals of one's own

OWN = '''
import pyarrow as pa
import pyarrow.compute as pc


def shouting(documents: pa.RecordBatch) -> pa.Array:
    """Share of capital letters among the ASCII letters of each document."""
    letters = pc.utf8_length(pc.replace_substring_regex(documents["text"], "[^A-Za-z]", ""))
    capitals = pc.utf8_length(pc.replace_substring_regex(documents["text"], "[^A-Z]", ""))
    return pc.divide(pc.cast(capitals, "double"), pc.cast(pc.max_element_wise(letters, 1), "double"))
'''


def manifest_with_own(folder, code: str = OWN, table: str = "low = 0\nhigh = 1"):
    (folder / "my_signals.py").write_text(code)
    own = f'[signals.custom.shouting]\nfunction = "my_signals:shouting"\nversion = 1\n{table}\n\n[[level]]\nname = "raw"'
    text = MANIFEST.replace('[[level]]\nname = "raw"', own, 1)
    return write_manifest(
        folder, text.replace("word_count = [8, inf]", "word_count = [8, inf], shouting = [0, 0.1]", 1)
    )


def test_a_signal_of_ones_own_is_bounded_like_any_other(tmp_path):
    a = annotated(manifest_with_own(tmp_path), tmp_path)
    values = a.values.column("shouting").to_numpy()
    assert 0 < values.mean() < 0.3
    number = next(k for k, (_, rule) in enumerate(a.judged["long"].rules) if rule.signal == "shouting")
    dropped = a.judged["long"].verdict == number
    assert dropped.any()
    assert (values[dropped] > 0.1).all()
    assert (values[a.judged["long"].kept] <= 0.1).all()


def test_an_edited_function_is_measured_anew(tmp_path):
    first = annotated(manifest_with_own(tmp_path), tmp_path).values.column("shouting").to_numpy()
    edited = OWN.replace("return pc.divide(", "return pc.multiply(0.5, pc.divide(").rstrip() + ")\n"
    assert edited != OWN
    second = annotated(manifest_with_own(tmp_path, edited), tmp_path).values.column("shouting").to_numpy()
    assert second == pytest.approx(first / 2)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (OWN.replace("def shouting", "def whispering"), "has no function shouting"),
        (OWN + "\nraise RuntimeError('at import')", "cannot import my_signals"),
    ],
)
def test_a_function_that_is_not_there_is_said_before_the_run(tmp_path, code, said):
    with pytest.raises(ManifestError, match=said):
        annotated(manifest_with_own(tmp_path, code), tmp_path)
    assert not (tmp_path / "store/documents").exists()


RUNS = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n" + OWN


def test_reading_a_manifest_and_verifying_its_lock_run_no_code_and_plan_says_which_would_be(tmp_path):
    path = manifest_with_own(tmp_path, RUNS)
    planned = plan(Store(tmp_path / "store"), load_manifest(path))
    assert not (tmp_path / "ran").exists()
    (code,) = planned.code
    assert (code["signal"], code["file"]) == ("shouting", str(tmp_path / "my_signals.py"))
    assert f"runs code: my_signals:shouting of {code['file']} (sha256 {code['sha256'][:12]})" in plan_text(
        planned
    )
    store = ["--store", str(tmp_path / "store")]
    assert CliRunner().invoke(main, ["build", str(path), *store, "--workers", "1"]).exit_code == 0
    (tmp_path / "ran").unlink()
    assert CliRunner().invoke(main, ["verify", str(tmp_path / "small.lock.json"), *store]).exit_code == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "function",
    ["../evil:f", "/elsewhere/evil:f", "evil.sub:f", "evil:f", "os:system", "evil:", ":f", "a b:f"],
)
def test_code_from_elsewhere_than_the_manifests_folder_or_a_package_is_refused(
    tmp_path, monkeypatch, function
):
    (tmp_path / "here").mkdir()
    for place in (tmp_path / "evil.py", tmp_path / "here/evil.py"):
        place.write_text(RUNS)
    (tmp_path / "manifest").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend("")
    with pytest.raises(ValueError, match='write "module:function"|neither beside the manifest'):
        custom.load(function, str(tmp_path / "manifest"))
    assert not list(tmp_path.rglob("ran"))


def test_a_link_to_code_elsewhere_is_refused(tmp_path):
    (tmp_path / "manifest").mkdir()
    (tmp_path / "evil.py").write_text(RUNS)
    (tmp_path / "manifest/evil.py").symlink_to(tmp_path / "evil.py")
    with pytest.raises(ValueError, match="a link to another folder"):
        custom.load("evil:shouting", str(tmp_path / "manifest"))


def test_a_function_of_an_installed_package_is_taken_unless_another_stands_ahead_of_it(tmp_path, monkeypatch):
    assert custom.load("click.utils:echo", str(tmp_path))[0].__name__ == "echo"
    (tmp_path / "tqdm.py").write_text(RUNS)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "manifest").mkdir()
    with pytest.raises(ValueError, match="stands ahead of the installed package"):
        custom.load("tqdm:tqdm", str(tmp_path / "manifest"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return pa.array([1.0])", "returned 1 values for"),
        ("return pa.array([2.0] * len(documents))", "outside of its range"),
        ("return pa.array(['a'] * len(documents))", "returned no column of double"),
        ("raise KeyError('x')", "raised KeyError"),
    ],
)
def test_values_that_are_not_what_was_declared_stop_the_run_with_the_functions_name(tmp_path, body, said):
    code = f"import pyarrow as pa\n\n\ndef shouting(documents):\n    {body}\n"
    with pytest.raises(CurateError, match=said) as caught:
        annotated(manifest_with_own(tmp_path, code), tmp_path)
    assert "my_signals:shouting" in str(caught.value)


BESIDE = """
import pyarrow as pa
import pyarrow.compute as pc


def shouting(documents):
    return pc.divide(documents["line_count"], pc.max_element_wise(documents["word_count"], 1).cast(pa.float64()))


def first_words(documents):
    return [[{"start": 0, "end": len(text.split()[0].encode())}] if text[:1].strip() else [] for text in documents["text"].to_pylist()]
"""


def test_a_function_sees_other_signals_of_the_same_documents(tmp_path):
    path = manifest_with_own(tmp_path, BESIDE, 'low = 0\nhigh = 1e9\ntakes = ["word_count", "line_count"]')
    a = annotated(path, tmp_path)
    words, lines = (a.values.column(name).to_numpy() for name in ("word_count", "line_count"))
    assert a.values.column("shouting").to_numpy() == pytest.approx(lines / words.clip(1))


def manifest_with_spans(folder, code: str = BESIDE):
    (folder / "my_signals.py").write_text(code)
    own = '[signals.custom.first_words]\nfunction = "my_signals:first_words"\nspans = true\n\n[[level]]\nname = "raw"'
    text = MANIFEST.replace('[[level]]\nname = "raw"', own, 1)
    return write_manifest(folder, text.replace('name = "long"', 'name = "long"\ncut = ["first_words"]', 1))


def test_spans_of_a_function_are_cut_like_any_others(tmp_path):
    a = annotated(manifest_with_spans(tmp_path), tmp_path)
    (cut,) = a.judged["long"].level.edits
    whole = [len(t.encode()) for part in a.pool.parts for t in part.table(["text"])["text"].to_pylist()]
    spans = a.values.column("first_words").to_pylist()
    assert sum(bool(some) for some in spans) > 100
    assert edited((cut,), a.signals).sizes(a.pool.parts).tolist() == [
        size - sum(span["end"] - span["start"] for span in some) for size, some in zip(whole, spans, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "spans",
    ["{'start': 0, 'end': 10**9}", "{'start': 3, 'end': 3}", "{'start': -1, 'end': 2}", "{'start': 0, 'end': 2}, {'start': 1, 'end': 3}",
     "{'start': None, 'end': 2}"],
)  # fmt: skip
def test_spans_that_are_none_name_the_document(tmp_path, spans):
    code = f"def first_words(documents):\n    return [[{spans}]] * len(documents)\n"
    with pytest.raises(CurateError, match="returned the span") as caught:
        annotated(manifest_with_spans(tmp_path, code), tmp_path)
    assert "my_signals:first_words" in str(caught.value)


def test_a_span_that_ends_within_a_character_is_refused():
    table = pa.table({"id": ["a"], "text": pa.array(["éa"], pa.large_string())})
    inside = pa.array([[{"start": 0, "end": 1}]], custom.type_of({"spans": True}))
    with pytest.raises(CurateError, match="from one character to another"):
        custom._check_spans("here", {}, inside, table)


@pytest.mark.parametrize(
    ("taken", "says"),
    [
        ("no_such", "no signal"),
        ("perplexity", "add perplexity"),
        ("duplicate_cluster_size", "duplicate_cluster_size"),
    ],
)
def test_what_a_function_cannot_take_is_refused(tmp_path, taken, says):
    with pytest.raises(ManifestError, match=says):
        load_manifest(manifest_with_own(tmp_path, BESIDE, f'takes = ["{taken}"]'))


# ------------------------------------------------------------------------------------- by language, and on demand


def test_a_bound_by_language_binds_the_documents_of_that_language_alone(tmp_path):
    bounds = "word_count = { en = [20, inf], de = [1, inf] }"
    path = write_manifest(
        tmp_path, MANIFEST.replace("word_count = [8, inf]", bounds, 1).replace(', language = ["en"]', "")
    )
    a = annotated(path, tmp_path)
    words, language = (a.values.column(n).to_numpy(zero_copy_only=False) for n in ("word_count", "language"))
    kept = a.judged["long"].kept
    assert (words[kept & (language == "en")] >= 20).all()
    assert not kept[(language == "en") & (words < 20)].any()
    assert kept[language != "en"].all()
    row = int((language == "en").argmax())
    told = explain(a, a.pool.ids[row].as_py()).levels[1]["rules"][0]
    assert told["bound"] == "[20, inf]"


def test_a_level_that_names_a_signal_has_its_family_measured(tmp_path):
    text = MANIFEST.replace("word_count = [8, inf]", "word_count = [8, inf], c4_sentence_count = [1, inf]", 1)
    manifest = load_manifest(write_manifest(tmp_path, text))
    assert "c4" in manifest.families
    assert "c4" not in load_manifest(write_manifest(tmp_path)).families


def test_a_family_that_is_refused_is_not_measured_on_demand(tmp_path):
    text = MANIFEST.replace("word_count = [8, inf]", "c4_sentence_count = [1, inf]", 1)
    text = text.replace("language = true", "language = true\nc4 = false", 1)
    with pytest.raises(ManifestError, match=r"add c4 = true to \[signals\]"):
        load_manifest(write_manifest(tmp_path, text))


def test_a_language_that_the_model_never_answers_is_said_with_what_it_says_instead(tmp_path):
    with pytest.raises(ManifestError, match=r'lid.176 never answers "nb"; it says "no"'):
        load_manifest(write_manifest(tmp_path, MANIFEST.replace('language = ["en"]', 'language = ["nb"]', 1)))


RUN_TEXTS = [f"Return the {n} small words of text number {n}, which say little.\n" * 3 for n in range(60)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny trained model."""
    from train.run import train_cell
    from train.tokens import Packed, encode, train_tokenizer

    folder = tmp_path_factory.mktemp("run")
    train_tokenizer(RUN_TEXTS, 290, folder / "tokenizer.json")
    ids, offsets = encode(folder / "tokenizer.json", RUN_TEXTS)
    sizes = [len(text.encode()) for text in RUN_TEXTS]
    Packed.write(folder / "data", ids, offsets, sizes, tokenizer=folder / "tokenizer.json")
    small = {"model": {"depth": 1, "width": 32}, "batch": 4, "context": 32, "sizes": [1280], "seed": 0}
    train_cell({"packed": str(folder / "data"), "level": "raw", "holdouts": {}, **small}, folder / "runs")
    return folder / "runs" / "1280"


def test_the_loss_under_a_trained_model_is_a_signal(tmp_path, run):
    from train import load_run

    text = MANIFEST.replace("language = true", f'language = true\nloss = {{ run = "{run}" }}', 1)
    path = write_manifest(tmp_path, text.replace("word_count = [8, inf]", "loss = [0, 1000]", 1))
    a = annotated(path, tmp_path)
    loss = a.values.column("loss").to_numpy()
    for row in (0, int(loss.argmin()), int(loss.argmax())):
        document = a.pool.parts[int(a.pool.part[row])].table(["text"])["text"][int(a.pool.row[row])].as_py()
        nats, tokens = load_run(run).losses([document])
        assert loss[row] == pytest.approx(nats[0] / tokens[0], rel=1e-5)
    assert a.signals.models["loss"]["run"] == "1280"


def test_documents_of_any_source_are_scored_and_runs_compared(tmp_path, run):
    from curate.commands.score import score, score_text
    from train import load_run

    def scored(*names: str, runs=(run,), **options):
        return score(
            Store(tmp_path / "store"),
            open_engine("local", 1),
            list(runs),
            [tmp_path / n for n in names],
            **options,
        )

    (tmp_path / "seen.txt").write_text(RUN_TEXTS[0][:60])
    (tmp_path / "noise.txt").write_text("zq jx 77 %%" * 5)
    seen, noise = scored("seen.txt", "noise.txt")
    assert seen["nats_per_token"] == pytest.approx(
        load_run(run).loss(RUN_TEXTS[0][:60]).nats_per_token, rel=1e-5
    )
    assert seen["bits_per_byte"][0] < noise["bits_per_byte"][0]
    assert seen["bits_per_byte"][1:] == [None, None], "one document says nothing of others"
    rows = [{"body": text[:50], "n": k} for k, text in enumerate(RUN_TEXTS[:20])]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (mine,) = scored("rows.jsonl", text="body")
    assert mine["documents"] == 20
    loss = load_run(run).loss([row["body"] for row in rows])
    assert mine["bits_per_byte"][0] == pytest.approx(loss.bits_per_byte, rel=1e-5)
    assert mine["bits_per_byte"][1] < loss.bits_per_byte < mine["bits_per_byte"][2]
    first, second = scored("rows.jsonl", text="body", runs=(run, run))[:1], scored("rows.jsonl", text="body")
    assert first[0]["bits_per_byte"] == second[0]["bits_per_byte"]
    other = tmp_path / "other"
    shutil.copytree(run, other)
    both = scored("rows.jsonl", text="body", runs=(run, other))
    assert both[1]["difference"] == [0.0, 0.0, 0.0]
    assert "against the first" in score_text(both)
    with pytest.raises(CurateError, match=r"no finished run \(run.json is missing\)"):
        scored("seen.txt", runs=(tmp_path,))
    with pytest.raises(CurateError, match=r"none.txt: No such file"):
        scored("none.txt")
    with pytest.raises(CurateError, match="no-text: 20"):
        scored("rows.jsonl")


LISTS = """
[signals]
language = true
near_duplicates = { similarity = 0.8 }
url_lists = { domains = "domains.txt" }
own_url = true
word_lists = { coroutines = "words.txt" }
"""


def with_lists(folder):
    (folder / "domains.txt").write_text("bad.test\n")
    (folder / "words.txt").write_text("coroutine\nevent loop\n")
    (folder / "pages.jsonl").write_text(
        "".join(
            json.dumps({"text": f"The page number {n} about a coroutine.", "url": f"https://{host}/{n}"})
            + "\n"
            for n, host in enumerate(["good.test", "www.bad.test"])
        )
    )
    signals = MANIFEST[MANIFEST.index("[signals]") : MANIFEST.index("[[level]]")]
    source = '[[source]]\nname = "pages"\nformat = "jsonl"\npath = "pages.jsonl"\ncolumns = ["url"]\n\n'
    text = MANIFEST.replace(signals, LISTS, 1).replace("[parts]", source + "[parts]", 1)
    return text.replace(
        "word_count = [8, inf]", "url_blocked_domain_count = [0, 0], coroutines_count = [1, inf]", 1
    )


@pytest.mark.parametrize("line", ["@@||good.test^", "ad*.test", "two words"])
def test_a_line_of_a_list_that_is_no_domain_is_refused_by_its_number(tmp_path, line):
    path = write_manifest(tmp_path, with_lists(tmp_path))
    (tmp_path / "domains.txt").write_text(f"0.0.0.0 bad.test\n||worse.test^\n{line}\n")
    with pytest.raises(ManifestError, match=r"domains = .*domains.txt: line 3, ") as error:
        load_manifest(path)
    assert line in str(error.value)


@pytest.mark.parametrize("code", ["zh-Hant", "zh_TW", "sr-Latn", "cmn_Hans", "en-GB", "hin_Latn"])
@pytest.mark.parametrize(
    "key", ["language = [CODE]", "alphabetic_word_ratio = { CODE = [0, 1] }", "main_line_language = [CODE]"]
)
def test_a_script_or_region_that_the_model_does_not_tell_is_refused(tmp_path, code, key):
    text = MANIFEST.replace('language = ["en"]', key.replace("CODE", f'"{code}"'), 1)
    with pytest.raises(ManifestError, match=r'lid.176 never answers ".*"; it says "(zh|sr|en|hi)" whatever'):
        load_manifest(write_manifest(tmp_path, text))


def test_a_code_keeps_its_varieties_and_a_variety_itself_alone():
    answers = pa.chunked_array([["zh-Hant", "zh-Hans", "en", None, "zh", "zh-Hant-TW"]])
    kept = {
        code: inside(answers, parse_bound("language", [code])).tolist()
        for code in ("zh", "zho_Hant", "zh-TW")
    }
    assert kept["zh"] == [True, True, False, False, True, True]
    assert kept["zho_Hant"] == [True, False, False, False, False, True]
    assert kept["zh-TW"] == [False] * 5 + [True]
    bound = parse_bound("word_count", {"zh": [1, 2], "zh-Hant": [3, 4], "en": [5, 6]})
    lows = [bound.for_language(language).low for language in answers.to_pylist()]
    assert lows == [3, 1, 5, -math.inf, 1, 3]


def test_a_model_that_tells_scripts_apart_is_asked_for_one(tmp_path):
    fasttext = pytest.importorskip("fasttext")
    written = {
        "zho_Hant": "這裡 寫的 是 繁體 中文 的 文字",
        "zho_Hans": "这里 写的 是 简体 中文 的 文字",
        "eng_Latn": "these are plain words of English",
    }
    (tmp_path / "train.txt").write_text(
        "".join(f"__label__{label} {text}\n" for label, text in written.items() for _ in range(50)),
        encoding="utf-8",
    )
    # Ten threads and a dimension that ten divides: with others the library trains on uninitialised memory.
    model = fasttext.train_supervised(
        str(tmp_path / "train.txt"), epoch=20, lr=0.2, dim=20, thread=10, verbose=0
    )
    model.save_model(str(tmp_path / "scripts.bin"))
    measured = documents.measure(pa.array(written.values(), pa.large_string()), tmp_path / "scripts.bin")
    answers = pa.chunked_array([measured["language"]])
    assert answers.to_pylist() == ["zh-Hant", "zh-Hans", "en"]
    kept = {
        code: inside(answers, parse_bound("language", [code])).sum() for code in ("zh", "zh-Hant", "eng_Latn")
    }
    assert kept == {"zh": 2, "zh-Hant": 1, "eng_Latn": 1}
    text = MANIFEST.replace("language = true", 'language = { model = "scripts.bin" }', 1)
    for code in kept:
        load_manifest(write_manifest(tmp_path, text.replace('language = ["en"]', f'language = ["{code}"]')))
    with pytest.raises(ManifestError, match='never answers "zh-Latn" .did you mean "zh-Hant"'):
        load_manifest(write_manifest(tmp_path, text.replace('language = ["en"]', 'language = ["zh-Latn"]')))


def test_the_users_lists_are_signals_and_a_changed_list_is_measured_again(tmp_path):
    path = write_manifest(tmp_path, with_lists(tmp_path))
    a = annotated(path, tmp_path)
    pages = a.pool.source == a.pool.sources.index("pages")
    assert a.judged["long"].kept[pages].sum() == 1
    assert a.judged["long"].kept.sum() > 1
    assert set(a.values.column("own_url_path_depth").to_pylist()) == {None, 1}
    assert a.signals.models["url_lists"]["domains"] == "domains.txt"
    (tmp_path / "domains.txt").write_text("good.test\nbad.test\n")
    assert annotated(path, tmp_path).judged["long"].kept[pages].sum() == 0


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('columns = ["url"]', "", r'reads the field url; add columns = \["url"\]'),
        ('domains = "domains.txt"', 'domains = "domain.txt"', "No such file"),
        ('domains = "domains.txt"', 'domain = "domains.txt"', 'did you mean "domains"'),
        ('"words.txt"', '"empty.txt"', "the list is empty"),
        ('"words.txt"', '"marks.txt"', "no letter or digit"),
        ("coroutines =", "word =", "word: a shipped signal's name"),
        ("own_url = true", 'loss = { run = "." }', r"no finished run \(run.json is missing\)"),
        ("own_url = true", "loss = true", 'run = "DIRECTORY"'),
    ],
)
def test_a_mistake_about_a_list_or_a_run_is_one_error(tmp_path, right, wrong, said):
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "marks.txt").write_text("word\n--\n")
    text = with_lists(tmp_path)
    assert right in text
    with pytest.raises(ManifestError, match=said):
        load_manifest(write_manifest(tmp_path, text.replace(right, wrong, 1)))
