// Everything a document says reaches the page as text. Nothing here makes markup of it.
"use strict";

const asked = { level: "", rule: "", source: "", search: "" };
const get = id => document.getElementById(id);
const count = n => n.toLocaleString("en");
const short = n => n < 1e3 ? `${n}` : n < 1e6 ? `${(n / 1e3).toPrecision(3)}k` : n < 1e9 ? `${(n / 1e6).toPrecision(3)}M` : `${(n / 1e9).toPrecision(3)}G`;
const figure = x => x === null || x === undefined ? "none" : typeof x === "number" && !Number.isInteger(x) ? `${+x.toPrecision(5)}` : `${x}`;
const amount = a => `${count(a.documents)} documents, about ${short(a.tokens)} tokens`;
let spread = null;  // the signal whose bound is moved

async function ask(question, given = {}) {
  const known = Object.entries(given).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const reply = await fetch(`${question}?${new URLSearchParams(known)}`);
  const answer = await reply.json();
  get("error").hidden = reply.ok;
  if (!reply.ok) {
    get("error").textContent = answer.error;
    throw new Error(answer.error);
  }
  return answer;
}

// Controls, marks of direction and what else no font shows stand as escapes.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

function write(node, text) {
  let from = 0;
  for (const found of text.matchAll(UNSEEN)) {
    node.append(text.slice(from, found.index), make("span", { className: "unseen" }, `\\u${found[0].codePointAt(0).toString(16).padStart(4, "0")}`));
    from = found.index + found[0].length;
  }
  node.append(text.slice(from));
  return node;
}

function make(tag, given = {}, ...inside) {
  const node = Object.assign(document.createElement(tag), given);
  for (const one of inside) typeof one === "string" ? write(node, one) : node.append(one);
  return node;
}

function table(rows) {
  const body = make("tbody");
  for (const row of rows) body.append(make("tr", {}, ...row.map(cell => cell instanceof Node ? cell : make("td", {}, cell))));
  return make("table", {}, body);
}

// ------------------------------------------------------------------------------------------------ levels and lists

function drawLevels(seen) {
  for (const level of seen.levels) {
    const meter = make("meter", { max: seen.documents, value: level.documents });
    const lead = make("button", { className: "level" }, level.name, make("span", { className: "n" }, `keeps ${amount(level)}`), meter);
    lead.onclick = () => choose(level.name, "");
    get("levels").append(lead);
    lead.dataset.at = JSON.stringify([level.name, ""]);
    for (const rule of level.rules) {
      const button = make("button", { className: rule.documents ? "rule" : "rule idle" }, `${rule.name} ${rule.bound}`, make("span", { className: "n" }, `drops ${count(rule.documents)}`));
      button.dataset.at = JSON.stringify([level.name, rule.name]);
      button.onclick = () => choose(level.name, rule.name, rule.signal);
      get("levels").append(button);
    }
  }
  for (const source of seen.sources) get("source").append(make("option", { value: source }, source));
  for (const signal of seen.signals) get("signal").append(make("option", { value: signal.name, title: signal.says }, signal.name));
  get("name").textContent = `${seen.name}: ${amount(seen)}`;
}

async function choose(level, rule, signal) {
  Object.assign(asked, { level, rule });
  for (const button of get("levels").children) button.setAttribute("aria-current", button.dataset.at === JSON.stringify([level, rule]));
  const known = [...get("signal").options].some(option => option.value === signal);
  if (known || spread) {
    get("signal").value = known ? signal : get("signal").value;
    await moveBound();
  }
  if (!known) await list();
}

async function list(after = 0) {
  const found = await ask("documents", { ...asked, after });
  const what = asked.rule ? `dropped by ${asked.rule} in ${asked.level}` : `kept by ${asked.level}`;
  if (!after) {
    get("list").replaceChildren();
    get("what").textContent = found.total === null ? `“${asked.search}” among those ${what}` : `${count(found.total)} ${what}`;
  }
  for (const one of found.documents) get("list").append(row(one));
  if (!get("list").children.length) get("list").append(make("p", { className: "quiet" }, found.next === null ? "none" : "none so far"));
  get("more").hidden = found.next === null;
  get("more").onclick = () => list(found.next);
}

function row(one, kept) {
  const value = one.value === undefined ? "" : figure(one.value);
  const side = kept === undefined ? "" : kept ? "kept" : "dropped";
  const node = make("div", { className: "row", tabIndex: 0 },
    make("div", { className: "n" }, make("span", {}, `${one.source}  ${one.place ?? ""}`), make("span", {}, `${side} ${value}`)),
    make("p", {}, one.text));
  node.onclick = () => read(one.id, node);
  node.onkeydown = event => { if (event.key === "Enter") read(one.id, node); };
  return node;
}

// ------------------------------------------------------------------------------------------------ moving a bound

async function moveBound() {
  const name = get("signal").value;
  get("moving").hidden = !name;
  if (!name) { spread = null; return list(); }
  spread = await ask("signal", { level: asked.level, name });
  const { points } = spread;
  const [first, last, middle] = [points[0], points.at(-1), points[points.length >> 1]];
  spread.name = name;
  // A long tail gets a scale that bends: else all but a few documents stand at its beginning.
  const bends = first >= 0 && last > 20 * Math.max(middle, 1e-9);
  const unit = bends ? Math.max(middle, 1e-9) : 1;
  const scale = bends ? x => Math.asinh(x / unit) : x => x;
  const width = scale(last) - scale(first) || 1;
  spread.at = points.map(x => (scale(x) - scale(first)) / width);
  get("says").textContent = [...get("signal").selectedOptions][0].title;
  get("low").value = 1000 * spread.at[nearest(spread.now.low[0], 0)];
  get("high").value = 1000 * spread.at[nearest(spread.now.high.at(-1), points.length - 1)];
  drawBound();
  await around();
}

// The point that a bound stands at: the first that is not less.
function nearest(value, otherwise) {
  if (value === undefined || value === null) return otherwise;
  const found = spread.points.findIndex(x => x >= value);
  return found < 0 ? spread.points.length - 1 : found;
}

function index(slider) {
  const at = slider.value / 1000;
  let low = 0, high = spread.at.length - 1;
  while (high - low > 1) { const middle = (low + high) >> 1; spread.at[middle] <= at ? low = middle : high = middle; }
  return at - spread.at[low] <= spread.at[high] - at ? low : high;
}

function bound() {
  const [low, high] = [index(get("low")), index(get("high"))];
  return { low, high, from: low === 0 ? null : spread.points[low], to: high === spread.points.length - 1 ? null : spread.points[high] };
}

function drawBound() {
  const { low, high, from, to } = bound();
  const within = what => Math.max(0, spread.upto[what][high] - spread.below[what][low]);
  const [documents, bytes] = [within("documents"), within("bytes")];
  const tokens = size => Math.round(size / spread.bytes_a_token);
  get("low-value").textContent = from === null ? "any" : figure(from);
  get("high-value").textContent = to === null ? "any" : figure(to);
  const kept = { documents, tokens: tokens(bytes) };
  const dropped = { documents: spread.documents - documents, tokens: tokens(spread.bytes - bytes) };
  const missing = spread.missing ? `; ${count(spread.missing)} have no value, and are dropped by any bound` : "";
  get("amount").textContent = `keeps ${amount(kept)} (${(100 * bytes / (spread.bytes || 1)).toPrecision(3)} %); drops ${amount(dropped)}${missing}`;
  get("toml").textContent = `keep = { ${spread.name} = [${from ?? "-inf"}, ${to ?? "inf"}] }`;
  drawSpread(spread.at[low], spread.at[high]);
}

function drawSpread(from, to) {
  const bins = 80, counts = new Array(bins).fill(0);
  let before = 0;
  spread.at.forEach((x, i) => {
    counts[Math.min(bins - 1, Math.floor(x * bins))] += spread.upto.documents[i] - before;
    before = spread.upto.documents[i];
  });
  const most = Math.sqrt(Math.max(...counts)) || 1;
  get("spread").replaceChildren(...counts.map((n, i) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = 88 * Math.sqrt(n) / most, middle = (i + .5) / bins;
    const given = { x: 600 * i / bins, y: 90 - height, width: 600 / bins - 1, height, class: middle + .5 / bins >= from && middle - .5 / bins <= to ? "kept" : "dropped" };
    for (const [name, value] of Object.entries(given)) bar.setAttribute(name, value);
    return bar;
  }));
}

async function around() {
  const { from, to } = bound();
  const found = await ask("around", { level: asked.level, name: spread.name, low: from, high: to });
  get("what").textContent = `Nearest to the bound on ${spread.name} in ${asked.level}, its other rules as they are`;
  get("more").hidden = true;
  const rows = [...found.dropped.nearest.map(one => row(one, false)), ...found.kept.nearest.map(one => row(one, true))];
  get("list").replaceChildren(...rows);
}

// ------------------------------------------------------------------------------------------------ one document

async function read(id, from) {
  for (const one of get("list").children) one.setAttribute("aria-current", one === from);
  const found = await ask("document", { id });
  const back = make("button", { id: "back" }, "back to the list");
  back.onclick = close;
  const { document: about, levels, signals, duplicates } = found;
  const text = make("pre"), legend = make("p", { className: "quiet" }), names = [];
  for (const { text: words, spans } of found.runs) {
    for (const name of spans) if (!names.includes(name)) names.push(name);
    text.append(spans.length ? marked(words, spans, names) : make("span", {}, words));
  }
  for (const name of names) legend.append(marked(name, [name], names), " ");
  const parts = [back, make("h2", {}, about.place ?? about.id), table(Object.entries(about).map(([name, value]) => [name, value])), make("h3", {}, "Levels"),
    table(levels.map(one => [one.name, one.kept ? "kept" : `dropped by ${one.dropped_by}`])), make("h3", {}, "Text"), legend, text];
  if (found.left_out) parts.push(make("p", { className: "quiet" }, `${count(found.left_out)} more characters`));
  if (found.beside) parts.push(...beside(found.beside, duplicates));
  parts.push(make("h3", {}, "Rules"), table(levels.at(-1).rules.map(one => [one.rule, figure(one.value), one.bound,
    make("td", { className: one.passes === false ? "fails" : "" }, one.passes === null ? "" : one.passes ? "passes" : "fails")])));
  parts.push(make("h3", {}, "Signals"), table(Object.entries(signals).map(([name, value]) => [signalButton(name), figure(value)])));
  const shown = Object.entries(duplicates).filter(([, value]) => value !== null && value !== "");
  if (shown.length) parts.push(make("h3", {}, "Duplicates"), table(shown.map(([name, value]) => [name, figure(value)])));
  get("document").replaceChildren(...parts);
  get("document").scrollTop = 0;
  document.body.classList.add("reading");
}

function marked(words, spans, names) {
  return make("mark", { className: `span-${names.indexOf(spans[0]) % 4}`, title: spans.join(", ") }, words);
}

function signalButton(name) {
  if (![...get("signal").options].some(option => option.value === name)) return name;
  const button = make("button", { title: "move a bound on it" }, name);
  button.onclick = () => { get("signal").value = name; close(); moveBound(); };
  return make("td", {}, button);
}

function beside(found, duplicates) {
  const [stays, goes] = found.texts.map((runs, side) => {
    const text = make("pre");
    for (const [differs, words] of runs) text.append(make("span", { className: differs ? ["gone", "new"][side] : "" }, words));
    return text;
  });
  const cut = found.left_out ? ", as far as they are compared" : "";
  return [make("h3", {}, `The document that stands for it, and this one${cut}: similarity ${figure(duplicates.near_duplicate_similarity)}`),
    make("div", { className: "beside" }, stays, goes)];
}

function close() { document.body.classList.remove("reading"); }

function step(by) {
  const rows = [...get("list").querySelectorAll(".row")];
  const next = rows[rows.findIndex(one => one.getAttribute("aria-current") === "true") + by];
  if (next) { next.scrollIntoView({ block: "nearest" }); next.click(); }
}

// ------------------------------------------------------------------------------------------------ what the user does

let pause;
get("search").oninput = () => {
  clearTimeout(pause);
  pause = setTimeout(() => { asked.search = get("search").value; list(); }, 250);
};
get("source").onchange = () => { asked.source = get("source").value; list(); };
get("signal").onchange = moveBound;
for (const end of ["low", "high"]) {
  get(end).oninput = drawBound;
  get(end).onchange = around;
}
get("copy").onclick = async () => {
  await navigator.clipboard.writeText(get("toml").textContent);
  get("copy").textContent = "copied";
};
document.onkeydown = event => {
  if (event.key === "Escape") { close(); document.activeElement.blur(); return; }
  if (/INPUT|SELECT/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = { j: () => step(1), k: () => step(-1), "/": () => get("search").focus(), b: () => get("signal").focus() }[event.key];
  if (act) { event.preventDefault(); act(); }
};

ask("overview").then(seen => { drawLevels(seen); choose(seen.levels.at(-1).name, ""); });
