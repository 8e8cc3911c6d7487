"use strict";
// Shows one card at a time, keeps what is said of it, and saves it as JSON Lines. All texts are set as text.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const byKey = new Map(data.cards.map((card) => [card.key, card]));
const ROWS_A_BLOCK = 8; // so many rows are finished together, and a row's answers stand 5 cards apart
const MOST_UNDONE = 200;

let annotator = "";
let order = [];
let at = 0; // order.length: the summary
let labels = {}; // by card: {label, note}
let trail = []; // of undo: [card's key, what was said before or null]
let unsaved = 0;
let showsReference = false;

// ------------------------------------------------------------------ an order of each annotator's own
function chances(seed) {
  let state = 2166136261;
  for (const sign of seed) state = Math.imul(state ^ sign.codePointAt(0), 16777619);
  return () => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(things, chance) {
  const mixed = [...things];
  for (let last = mixed.length - 1; last > 0; last--) {
    const other = Math.floor(chance() * (last + 1));
    [mixed[last], mixed[other]] = [mixed[other], mixed[last]];
  }
  return mixed;
}

function ordered(name) {
  const chance = chances([data.run, data.suite, data.score, name].join("\n"));
  const ofRow = new Map();
  for (const card of data.cards) ofRow.set(card.row, [...(ofRow.get(card.row) || []), card.key]);
  const rows = shuffled([...ofRow.keys()].sort((one, other) => one - other), chance);
  const blocks = Math.max(1, Math.floor(rows.length / ROWS_A_BLOCK));
  const found = [];
  for (let block = 0; block < blocks; block++) {
    const own = rows.slice((block * rows.length) / blocks, ((block + 1) * rows.length) / blocks);
    const cards = own.map((row) => shuffled([...ofRow.get(row)].sort(), chance));
    const rounds = Math.max(...cards.map((some) => some.length));
    const half = Math.ceil(cards.length / 2);
    for (let round = 0; round < rounds; round++) {
      // halves stay in place, so that no answer follows another to the same row closely
      const mixed = round === 0 ? cards : [...shuffled(cards.slice(0, half), chance), ...shuffled(cards.slice(half), chance)];
      cards.splice(0, cards.length, ...mixed);
      for (const some of cards) if (round < some.length) found.push(some[round]);
    }
  }
  return found;
}

const flips = (key) => chances(`${annotator}\n${key}`)() < 0.5; // whether a pair's second text stands first

// ------------------------------------------------------------------ what is kept
const place = () => ["harness-label", data.run, data.suite, data.score, data.mode, data.scale, annotator].join("\u241f");

function keep() {
  try {
    localStorage.setItem(place(), JSON.stringify({ labels, trail: trail.slice(-MOST_UNDONE), unsaved }));
  } catch {
    say("This browser keeps nothing: save your labels before you close the page.");
  }
}

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(place()) || "{}");
    for (const [key, one] of Object.entries(kept.labels || {})) if (byKey.has(key) && one) labels[key] = one;
    trail = (kept.trail || []).filter(([key]) => byKey.has(key));
    unsaved = kept.unsaved || 0;
  } catch {
    labels = {};
    trail = [];
  }
}

const isDone = (key) => labels[key] !== undefined && labels[key].label !== undefined;
const nDone = () => data.cards.filter((card) => isDone(card.key)).length;

// ------------------------------------------------------------------ the file
function saidOf(key) {
  const { label } = labels[key];
  if (data.mode !== "pairs" || label === "tie") return label;
  return (label === "left") !== flips(key) ? "first" : "second";
}

function fileText() {
  const lines = [];
  const passedOver = new Set(skipped());
  const cards = data.cards.filter((card) => isDone(card.key) || passedOver.has(card.key));
  for (const card of cards.sort((one, other) => one.row - other.row || (one.key < other.key ? -1 : 1))) {
    const { note } = labels[card.key] || {};
    const label = isDone(card.key) ? saidOf(card.key) : "skipped"; // who skips what is hard chooses among the rows
    for (const line of data.lines[card.key]) {
      lines.push({ ...line, annotator, label, ...(note ? { note } : {}) });
    }
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

// cards before the last one that was labelled
const skipped = () => order.slice(0, order.findLastIndex(isDone) + 1).filter((key) => !isDone(key));

const fileName = () => `labels-${annotator.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "-").replace(/^-+|-+$/g, "") || "me"}.jsonl`;

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([fileText()], { type: "application/jsonl" }));
  link.download = fileName();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  unsaved = 0;
  keep();
  say(`Saved ${counted(nDone(), "label")} as ${fileName()}.`);
  show();
}

const same = (one, other) => ["run", "suite", "score", "row", "side", "against", "seed", "answer"].every((name) => (one[name] ?? null) === (other[name] ?? null));

function taken(line) {
  for (const card of data.cards) {
    if (data.lines[card.key].some((mine) => same(mine, line))) return card.key;
  }
  return null;
}

function isLabel(label) {
  if (data.mode === "scale") return Number.isInteger(label) && label >= 1 && label <= data.scale;
  return (data.mode === "pairs" ? ["first", "second", "tie"] : ["good", "bad"]).includes(label);
}

function load(text) {
  const lines = [];
  for (const [number, raw] of text.split("\n").entries()) {
    if (!raw.trim()) continue;
    let line;
    try {
      line = JSON.parse(raw);
    } catch {
      return say(`Line ${number + 1} of the file is not JSON: nothing was taken from it.`);
    }
    if (line === null || typeof line !== "object") {
      return say(`Line ${number + 1} of the file is no label: nothing was taken from it.`);
    }
    lines.push(line);
  }
  const names = [...new Set(lines.map((line) => line.annotator))];
  if (names.length !== 1 || typeof names[0] !== "string" || !names[0]) {
    return say("The file does not hold the labels of one annotator: nothing was taken from it.");
  }
  begin(names[0]);
  let fit = 0;
  let other = 0;
  for (const line of lines) {
    const key = taken(line);
    if (key !== null && isLabel(line.label)) {
      const label = data.mode !== "pairs" || line.label === "tie" ? line.label : (line.label === "first") !== flips(key) ? "left" : "right";
      labels[key] = { label, ...(line.note ? { note: String(line.note) } : {}) };
      fit += 1;
    } else if (key === null || line.label !== "skipped") other += 1;
  }
  keep();
  go(next(-1));
  say(`${counted(fit, "label")} taken from the file${other ? `, ${other} not: they are about other rows or answers` : ""}.`);
}

// ------------------------------------------------------------------ what is shown
const counted = (n, thing) => `${n.toLocaleString("en")} ${thing}${n === 1 ? "" : "s"}`;

function say(text) {
  $("said").textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => ($("said").textContent = ""), 6000);
}

function setText(element, text) {
  element.textContent = text;
  element.classList.toggle("code", /^\s*[[{<`]/.test(text));
}

function show() {
  const isEnd = at >= order.length;
  $("start").hidden = true;
  $("work").hidden = $("choose").hidden = isEnd;
  $("end").hidden = !isEnd;
  const done = nDone();
  $("progress").max = order.length;
  $("progress").value = done;
  $("place").textContent = isEnd ? "Summary" : `${at + 1} of ${order.length}`;
  $("done").textContent = done === order.length ? "all labelled" : `${done} labelled`;
  $("save").disabled = done === 0;
  $("undo").disabled = trail.length === 0;
  $("back").disabled = at === 0;
  if (isEnd) return showEnd(done);
  const card = byKey.get(order[at]);
  const row = data.rows[card.row];
  const shown = data.mode === "pairs" && flips(card.key) ? [1, 0] : card.texts.map((_, number) => number);
  setText($("question"), row.question);
  setText($("reference"), row.reference);
  $("reference-block").hidden = !row.reference;
  $("reference-block").open = showsReference;
  shown.forEach((number, position) => setText($(`answer-${position}`), card.texts[number]));
  for (const element of document.querySelectorAll(".answer")) {
    const isEmpty = !element.textContent.trim();
    element.classList.toggle("empty-text", isEmpty);
    if (isEmpty) element.textContent = ""; // 400 line ends would push the word for it off the screen
  }
  $("lacking").hidden = !data.field || card.wholes.length > 0;
  $("lacking").textContent = `There is no “${data.field}” in this answer: it is shown whole.`;
  $("whole-block").hidden = card.wholes.length === 0;
  $("whole-block").open = false;
  setText($("whole"), shown.map((number) => card.wholes[number]).join("\n\n———\n\n"));
  const said = labels[card.key] || {};
  for (const button of document.querySelectorAll("[data-label]")) {
    button.setAttribute("aria-pressed", String(said.label !== undefined && String(said.label) === button.dataset.label));
  }
  $("note").value = said.note || "";
  $("note-block").hidden = !said.note;
}

function showEnd(done) {
  $("h-end").textContent = done === order.length ? `All ${order.length} labelled` : `${done} of ${order.length} labelled`;
  const counts = $("counts");
  counts.replaceChildren();
  const add = (name, n) => {
    const block = document.createElement("div");
    for (const [tag, text] of [["dt", name], ["dd", String(n)]]) {
      block.appendChild(document.createElement(tag)).textContent = text;
    }
    counts.append(block);
  };
  for (const button of document.querySelectorAll("[data-label]")) {
    const n = Object.values(labels).filter((one) => String(one.label) === button.dataset.label).length;
    add(button.firstChild.textContent.trim(), n);
  }
  add("With a note", Object.values(labels).filter((one) => one.note).length);
  const passedOver = new Set(skipped());
  const begun = new Map();
  for (const card of data.cards) {
    const [some, open] = begun.get(card.row) || [false, false];
    begun.set(card.row, [some || isDone(card.key) || passedOver.has(card.key), open || !isDone(card.key)]);
  }
  const halves = [...begun.values()].filter(([some, open]) => some && open).length;
  $("left").textContent = halves ? `${counted(halves, "question")} ${halves === 1 ? "has an answer that was" : "have answers that were"} seen or begun and not labelled: an improvement is then shown only if it still is with these at their worst.` : "";
  $("left").hidden = halves === 0;
  $("save-end").disabled = done === 0;
  $("unlabelled").hidden = done === order.length;
  $("command").textContent = `harness decide ${data.decide} --labels ${fileName()}`;
}

function go(where) {
  at = Math.max(0, Math.min(where, order.length));
  show();
  scrollTo(0, 0);
  (at >= order.length ? $("h-end") : $("question")).focus({ preventScroll: true });
}

function next(from) {
  const places = order.map((_, number) => (from + 1 + number) % order.length);
  const open = places.find((number) => !isDone(order[number]));
  return open === undefined ? order.length : open;
}

// ------------------------------------------------------------------ what is done
function begin(name) {
  annotator = name.split(/\s+/).filter(Boolean).join(" ");
  labels = {};
  trail = [];
  unsaved = 0;
  order = ordered(annotator);
  recall();
  document.body.classList.add("begun");
  const done = nDone();
  go(next(-1));
  if (done) say(`Going on with ${counted(done, "label")} of ${annotator} that this browser kept.`);
}

function put(label) {
  const key = order[at];
  trail.push([key, labels[key] || null]);
  labels[key] = { ...labels[key], label };
  unsaved += 1;
  keep();
  go(next(at));
}

function undo() {
  const last = trail.pop();
  if (!last) return;
  const [key, before] = last;
  if (before) labels[key] = before;
  else delete labels[key];
  unsaved += 1;
  keep();
  go(order.indexOf(key));
  say("Undone.");
}

function openNote() {
  $("note-block").hidden = false;
  $("note").focus();
}

function closeNote() {
  $("note-block").hidden = !$("note").value;
  $("question").focus({ preventScroll: true });
}

$("note").addEventListener("input", () => {
  const key = order[at];
  const { note: _, ...said } = labels[key] || {};
  const note = $("note").value;
  labels[key] = note ? { ...said, note } : said;
  if (Object.keys(labels[key]).length === 0) delete labels[key];
  unsaved += 1;
  keep();
});
$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("name").value.trim()) begin($("name").value);
});
$("file").addEventListener("change", async () => {
  const [file] = $("file").files;
  if (file) load(await file.text());
  $("file").value = "";
});
$("reference-block").addEventListener("toggle", () => (showsReference = $("reference-block").open));
for (const button of document.querySelectorAll("[data-label]")) {
  const { label } = button.dataset;
  button.addEventListener("click", () => put(data.mode === "scale" ? Number(label) : label));
}
for (const [id, act] of [["save", save], ["save-end", save], ["undo", undo], ["note-open", openNote]]) {
  $(id).addEventListener("click", act);
}
$("back").addEventListener("click", () => go(at - 1));
$("on").addEventListener("click", () => go(at + 1));
$("unlabelled").addEventListener("click", () => go(next(-1)));

document.addEventListener("keydown", (event) => {
  if (!annotator || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.id === "note") {
    if (event.key === "Escape") closeNote();
    return;
  }
  if (["INPUT", "TEXTAREA"].includes(event.target.tagName)) return;
  const key = event.key.toLowerCase();
  const chosen = at < order.length && [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
  const acts = { u: undo, s: () => nDone() && save(), arrowleft: () => go(at - 1), arrowright: () => go(at + 1) };
  if (at < order.length) {
    acts.n = openNote;
    acts.r = () => ($("reference-block").open = !$("reference-block").open);
  }
  const act = chosen ? () => chosen.click() : acts[key];
  if (!act || (event.repeat && !key.startsWith("arrow"))) return;
  event.preventDefault();
  act();
});
addEventListener("beforeunload", (event) => {
  if (unsaved > 0) event.preventDefault(); // the browser asks; what was said is kept all the same
});
$("name").focus();
