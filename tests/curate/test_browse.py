"""`curate browse`: its answers are those of the levels, it serves nobody else, and hostile documents stay text."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from urllib.parse import urlencode

import numpy as np
import pytest

from curate.browse.server import serve
from curate.browse.view import View, _runs
from curate.engine import open_engine
from curate.errors import CurateError
from curate.manifest.reader import load_manifest
from curate.steps import annotate_all
from curate.store import Store

HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\"> \u202eback\u202c and \x1b[2J "
MANIFEST = """
name = "small"
[[source]]
name = "notes"
format = "jsonl"
path = "notes.jsonl"
[[source]]
name = "letters"
format = "jsonl"
path = "letters.jsonl"
[signals]
near_duplicates = { similarity = 0.6 }
private = true
[[level]]
name = "raw"
[[level]]
name = "long"
on = "raw"
keep = { word_count = [20, 500] }
[[level]]
name = "unique"
on = "long"
keep = { duplicate = false }
"""


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browse")
    notes = [" ".join(f"word{i}x{k}" for k in range(5 + i)) for i in range(120)]
    letters = [
        f"{HOSTILE} write to someone{k}@example.org " + " ".join(f"letter{j}" for j in range(60))
        for k in range(2)
    ]
    for name, texts in (("notes", notes), ("letters", letters)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "small.toml").write_text(MANIFEST)
    engine = open_engine("local", 1, None)
    return View(annotate_all(Store(folder / "store"), load_manifest(folder / "small.toml"), engine))


@pytest.fixture(scope="module")
def address(view):
    server, address = serve(view)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield address
    server.shutdown()
    server.server_close()


def asked(url: str, headers: dict | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {})) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_what_it_counts_is_what_the_levels_keep_and_drop(view):
    seen = view.overview()
    for level in seen["levels"]:
        judged = view.a.judged[level["name"]]
        assert level["documents"] == judged.kept.sum() == view.documents(level["name"])["total"]
        for rule in level["rules"]:
            assert rule["documents"] == view.documents(level["name"], rule["name"])["total"]
    assert [level["documents"] for level in seen["levels"]] == [122, 107, 106]


def test_pages_of_a_list_hold_every_document_once(view):
    ids, after = [], 0
    while after is not None:
        page = view.documents("raw", after=after, count=50)
        ids += [one["id"] for one in page["documents"]]
        after = page["next"]
    assert sorted(ids) == sorted(view.a.pool.ids.to_pylist())


def test_search_finds_text_in_any_case_and_goes_on_where_it_stopped(view):
    first = view.documents("raw", search="WORD7", count=3)
    rest = view.documents("raw", search="WORD7", after=first["next"], count=500)
    found = [one["text"] for one in first["documents"] + rest["documents"]]
    assert len(found) == len(set(found)) == 11  # word7x and word70x to word79x
    assert view.documents("raw", source="letters", search="word7")["documents"] == []


def test_a_point_of_the_slider_says_what_the_exact_question_says(view):
    spread = view.signal("long", "word_count")
    assert spread["now"] == {"low": (20.0,), "high": (500.0,)}
    for low, high in ((0, len(spread["points"]) - 1), (10, 40), (3, 3)):
        exact = view.around("long", "word_count", spread["points"][low], spread["points"][high])["kept"]
        for what in ("documents", "bytes"):
            assert exact[what] == spread["upto"][what][high] - spread["below"][what][low]


def test_documents_around_a_bound_are_the_nearest_on_its_two_sides(view):
    found = view.around("raw", "word_count", low=50.0)
    assert sorted(one["value"] for one in found["dropped"]["nearest"]) == [46, 47, 48, 49]
    assert sorted(one["value"] for one in found["kept"]["nearest"]) == [50, 51, 52, 53]


def test_a_document_shows_its_spans_and_the_one_that_stands_for_it(view):
    (dropped,) = view.documents("unique", "unique.duplicate")["documents"]
    seen = view.document(dropped["id"])
    text = "".join(run["text"] for run in seen["runs"])
    assert HOSTILE in text
    assert any("@example.org" in run["text"] for run in seen["runs"] if run["spans"])
    stays, goes = ("".join(words for _, words in side) for side in seen["beside"]["texts"])
    assert goes == text != stays
    assert [words for differs, words in seen["beside"]["texts"][1] if differs]


def test_what_is_forgotten_is_in_no_answer(view):
    shown = view.shown.copy()
    try:
        view.shown[:] = np.arange(len(shown)) != 3
        view.rows.cache_clear()
        gone = view.a.pool.ids[3].as_py()
        assert gone not in {one["id"] for one in view.documents("raw", count=500)["documents"]}
        assert gone not in {
            one["id"] for one in view.documents("raw", search="word3x", count=500)["documents"]
        }
        with pytest.raises(CurateError, match="no document"):
            view.document(gone)
    finally:
        view.shown[:] = shown
        view.rows.cache_clear()


def test_runs_are_the_text_wherever_spans_overlap():
    spans = {"a": [{"start": 0, "end": 4}, {"start": 9, "end": 11}], "b": [{"start": 2, "end": 6}]}
    runs = _runs("ééé and b", spans)
    assert "".join(run["text"] for run in runs) == "ééé and b"
    assert [run["spans"] for run in runs] == [["a"], ["a", "b"], ["b"], [], ["a"], []][: len(runs)]


@pytest.mark.parametrize(
    "wrong",
    [{"level": "row"}, {"level": "raw", "rule": "none"}, {"level": "raw", "after": "x"}, {"of": "raw"}],
)
def test_a_wrong_question_gets_one_line(address, wrong):
    code, answer = asked(f"{address}documents?{urlencode(wrong)}")
    assert code == 400
    assert json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("", "evil.example"),
        ("../overview", None),
        ("../../etc/passwd", None),
        ("page.py", None),
        ("shown", None),
    ],
)
def test_nobody_else_is_served(address, path, host):
    assert asked(address + path, {"Host": host} if host else {}) == (404, b"not here")


def test_it_listens_to_this_machine_alone(address):
    assert address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("width", [1400, 390])
def test_in_a_browser_hostile_documents_are_text_and_the_keyboard_walks(browser, address, width):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    until = WebDriverWait(browser, 60).until
    shown = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shown)
    browser.get_log("browser")
    browser.get(address)
    until(lambda b: b.find_elements(By.CSS_SELECTOR, "#list .row"))
    search = browser.find_element(By.ID, "search")
    search.send_keys("taken")
    until(lambda b: "taken" in b.find_element(By.ID, "what").text)
    browser.find_element(By.CSS_SELECTOR, "#list .row").click()
    until(lambda b: b.find_elements(By.CSS_SELECTOR, "#document pre"))
    text = browser.find_element(By.CSS_SELECTOR, "#document pre").text
    assert "<script>" in text
    assert "\\u202e" in text
    assert "\\u001b" in text
    assert "\u202e" not in text
    assert browser.title == "curate browse"
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.get_log("browser") == []


def test_in_a_browser_a_bound_that_is_moved_counts_at_once(browser, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    until = WebDriverWait(browser, 60).until
    browser.get(address)
    until(lambda b: b.find_elements(By.CSS_SELECTOR, "#signal option[value=word_count]"))
    browser.execute_script(
        "const s = document.getElementById('signal'); s.value = 'word_count'; s.onchange()"
    )
    until(lambda b: b.find_element(By.ID, "toml").text == "keep = { word_count = [20, inf] }")
    before = browser.find_element(By.ID, "amount").text
    browser.execute_script("const s = document.getElementById('low'); s.value = 1000; s.oninput()")
    assert browser.find_element(By.ID, "amount").text != before
