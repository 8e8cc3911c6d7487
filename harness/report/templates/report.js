"use strict";
// The rows browser: unpacks the rows, filters them and shows them in pages. Without it the worst are shown.
// Whatever came from a run is set as text.
const ROWS_A_PAGE = 50;
const MOST_PAIRS = 4e6; // of words, that are compared in full
const WORDS = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Khmer}\p{Script=Lao}\p{Script=Myanmar}]|[\p{L}\p{M}\p{N}_]+|\s+|[^]/gu;
const TONES = { l: "bad", w: "good", f: "unsure", n: "unsure" };
const SIGNS = { good: "✓", bad: "✕", unsure: "?", plain: "·" };

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

function made(tag, classes, ...inside) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  element.append(...inside);
  return element;
}

function told(tag, classes, ...inside) {
  const element = made(tag, classes, ...inside);
  element.dir = "auto";
  return element;
}

// ------------------------------------------------------------------ word-level differences
// For both texts, whether each word stands in the other in its place (longest common subsequence).
function shared(mine, theirs) {
  const of = [new Array(mine.length).fill(false), new Array(theirs.length).fill(false)];
  let start = 0;
  let [end, other] = [mine.length, theirs.length];
  const same = (one, two) => ((of[0][one] = true), (of[1][two] = true));
  while (start < end && start < other && mine[start] === theirs[start]) same(start, start++);
  while (end > start && other > start && mine[end - 1] === theirs[other - 1]) same(--end, --other);
  const [n, m] = [end - start, other - start];
  if (n * m > MOST_PAIRS) return of;
  const wide = m + 1;
  const lengths = new Uint16Array((n + 1) * wide);
  for (let one = n - 1; one >= 0; one--) {
    for (let two = m - 1; two >= 0; two--) {
      lengths[one * wide + two] =
        mine[start + one] === theirs[start + two]
          ? lengths[(one + 1) * wide + two + 1] + 1
          : Math.max(lengths[(one + 1) * wide + two], lengths[one * wide + two + 1]);
    }
  }
  for (let one = 0, two = 0; one < n && two < m; ) {
    if (mine[start + one] === theirs[start + two]) same(start + one++, start + two++);
    else if (lengths[(one + 1) * wide + two] >= lengths[one * wide + two + 1]) one++;
    else two++;
  }
  return of;
}

const isSpace = (word) => !word.trim();

// The text in parts, each with whether it is marked; white space between marked words is marked.
function parts(words, isShared) {
  const found = [];
  let at = 0;
  for (const [place, word] of words.entries()) {
    const space = isSpace(word);
    const last = found.at(-1);
    const next = place + 1 < words.length && !isShared[at];
    const differs = space ? Boolean(last && last[1]) && next : !isShared[at];
    if (!space) at++;
    if (last && last[1] === differs) last[0] += word;
    else found.push([word, differs]);
  }
  return found;
}

function marked(text, other) {
  const mine = text.match(WORDS) || [];
  const dense = (words) => words.filter((word) => !isSpace(word));
  return parts(mine, shared(dense(mine), dense(other.match(WORDS) || []))[0]);
}

function textOf(text, other) {
  const box = told("div", "text");
  if (other === null) box.append(text);
  else for (const [part, differs] of marked(text, other)) box.append(differs ? made("mark", "", part) : part);
  if (text.length <= 700) return box;
  box.classList.add("clamped");
  const button = made("button", "unclamp", "Show all");
  button.type = "button";
  button.addEventListener("click", () => (box.classList.remove("clamped"), button.remove()));
  return made("div", "", box, button);
}

// ------------------------------------------------------------------ the browser
function browse(root, data) {
  const pick = Object.fromEntries([...root.querySelectorAll("[name]")].map((one) => [one.name, one]));
  const filters = root.querySelector(".filters");
  const list = root.querySelector(".list");
  const more = root.querySelector(".more");
  const lowered = new Map();
  const order = Object.keys(data.outcomes);
  let outcome = "";
  let found = [];
  let pending = 0;

  const suite = () => data.suites[pick.suite.value];
  const side = () => suite().sides[pick.side.value];
  const base = () => suite().sides[side().base];
  const check = () => Number(pick.check.value); // -1: any
  const text = (place) => (place < 0 ? "" : data.texts[place]);
  const lower = (place) => {
    if (place < 0) return "";
    if (!lowered.has(place)) lowered.set(place, data.texts[place].toLowerCase());
    return lowered.get(place);
  };

  function fill(select, options) {
    const before = select.selectedOptions[0]?.textContent;
    select.replaceChildren();
    for (const [value, name, group] of options) {
      const option = new Option(name, value, false, name === before);
      let into = select;
      if (group) {
        into = [...select.children].find((one) => one.label === group);
        if (!into) select.append((into = Object.assign(document.createElement("optgroup"), { label: group })));
      }
      into.append(option);
    }
    select.closest("label").hidden = options.length < 2;
  }

  function fillSuite() {
    const { sides, checks, slices } = suite();
    const shown = [...sides.entries()].filter(([, one]) => one.base !== undefined);
    fill(pick.side, shown.map(([place, one]) => [place, one.label]));
    const lead = shown.findLast(([, one]) => one.lead);
    if (lead && !pick.side.selectedOptions[0]?.defaultSelected) pick.side.value = lead[0];
    fill(pick.check, [[-1, "any that decides"], ...checks.entries().map(([place, one]) => [place, one.votes ? one.name : `${one.name} (advisory)`])]);
    const options = [["", "all rows"]];
    for (const [key, [name, places]] of slices.entries()) {
      const counts = new Map();
      for (const place of places) if (place >= 0) counts.set(place, (counts.get(place) || 0) + 1);
      const most = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 200);
      for (const [place, n] of most) options.push([`${key}.${place}`, `${name} ${text(place)} (${n})`, name]);
    }
    fill(pick.slice, options);
  }

  function steps() {
    const sum = new Float64Array(suite().id.length);
    const among = check() < 0 ? [...suite().checks.keys()].filter((one) => suite().checks[one].votes) : [check()];
    for (const one of among.length ? among : suite().checks.keys()) {
      const [mine, theirs] = [side().checks[one]?.[0], base()?.checks[one]?.[0]];
      if (!mine || !(theirs || suite().checks[one].kind === "preference")) continue;
      for (const row of mine.keys()) {
        const before = theirs ? theirs[row] : 0.5;
        if (mine[row] !== null && before !== null) sum[row] += mine[row] - before;
      }
    }
    return sum;
  }

  function apply() {
    const letters = side().outcomes[check() + 1];
    const wanted = pick.wanted.value.trim().toLowerCase();
    const [key, value] = pick.slice.value ? pick.slice.value.split(".").map(Number) : [];
    const places = key === undefined ? null : suite().slices[key][1];
    const seen = [suite().question, suite().reference, side().text, side().note, ...(base() ? [base().text] : [])];
    for (const one of [side(), base()]) for (const scored of one?.checks || []) if (scored) seen.push(scored[1]);
    const counts = Object.fromEntries(order.map((letter) => [letter, 0]));
    const kept = [];
    for (let row = 0; row < suite().id.length; row++) {
      if (places && places[row] !== value) continue;
      if (wanted && !suite().id[row].toLowerCase().includes(wanted) && !seen.some((some) => lower(some[row]).includes(wanted))) continue;
      const letter = letters[row] || "n";
      counts[letter]++;
      if (!outcome || letter === outcome) kept.push(row);
    }
    const sum = steps();
    const turn = outcome === "w" ? -1 : 1; // of what was won, the most won first
    const rank = (row) => order.indexOf(letters[row] || "n");
    found = kept.sort((one, other) => rank(one) - rank(other) || turn * (sum[one] - sum[other]) || one - other);
    const names = base() ? data.outcomes : { ...data.outcomes, x: "wrong", r: "right" };
    filters.replaceChildren(
      ...[["", "All"], ...Object.entries(names)].map(([letter, name]) => {
        const n = letter ? counts[letter] : Object.values(counts).reduce((one, other) => one + other, 0);
        const button = made("button", TONES[letter] || "", name[0].toUpperCase() + name.slice(1), " ", made("span", "", n.toLocaleString("en")));
        button.type = "button";
        button.hidden = letter === "n" && !n;
        button.setAttribute("aria-pressed", String(letter === outcome));
        button.addEventListener("click", () => {
          outcome = letter;
          apply();
          filters.children[["", ...order].indexOf(letter)].focus();
        });
        return button;
      }),
    );
    list.replaceChildren();
    page();
  }

  function page() {
    const from = list.children.length;
    list.append(...found.slice(from, from + ROWS_A_PAGE).map(card));
    const left = found.length - list.children.length;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(left, ROWS_A_PAGE)} more`;
    const rows = found.length === 1 ? "1 row" : `${found.length.toLocaleString("en")} rows`;
    root.querySelector("output").textContent = left ? `${rows}, ${list.children.length.toLocaleString("en")} shown` : rows;
    return list.children[from];
  }

  function chips(one, row) {
    const items = suite().checks.map(({ name, kind, right }, place) => {
      const scored = one.checks[place];
      if (!scored) return null;
      const value = scored[0][row];
      const tone = value === null ? "unsure" : value >= right ? "good" : "bad";
      const said = value === null ? "no value" : kind === "graded" ? Math.round(100 * value) : value;
      const sign = made("span", "mark", SIGNS[tone]);
      sign.ariaHidden = "true";
      const item = made("li", tone, made("span", "", sign, made("bdi", "", name), ` ${said}`));
      if (text(scored[1][row])) item.append(" ", told("small", "", text(scored[1][row])));
      return item;
    });
    return made("ul", "chips", ...items.filter(Boolean));
  }

  function cell(one, row, title, other) {
    const box = made("div", "cell", told("h5", "", one.label, title ? made("small", "", ` ${title}`) : ""));
    if (one.note[row] >= 0) box.append(told("p", "failure", text(one.note[row])));
    const why = { [-1]: "not asked", [-2]: "its answer is in run.json" }[one.text[row]];
    box.append(why ? told("p", "failure", why) : textOf(text(one.text[row]), other), chips(one, row));
    return box;
  }

  function card(row) {
    const mine = side();
    const theirs = base();
    const letters = mine.outcomes.map((some) => some[row]);
    const named = (letter) => suite().checks.filter((_, place) => letters[place + 1] === letter).map((one) => one.name);
    const changes = [["l", "lost"], ["w", "won"]].map(([letter, verb]) => (named(letter).length ? `${verb} ${named(letter).join(", ")}` : ""));
    const letter = letters[check() + 1] || "n";
    const head = made("header", "", told("h4", "", suite().id[row]));
    head.append(" ", told("span", `tag ${TONES[letter] || "plain"}`, changes.filter(Boolean).join("; ") || data.outcomes[letter]));
    for (const [name, places] of suite().slices) if (places[row] >= 0) head.append(" ", told("span", "slice", `${name} ${text(places[row])}`));
    const reference = text(suite().reference[row]);
    const against = pick.marks.value;
    const answer = text(mine.text[row]);
    const before = theirs ? text(theirs.text[row]) : "";
    const other = { reference, base: theirs ? before : null }[against] ?? null;
    const cells = made("div", "cells", made("div", "cell", made("h5", "", "Reference"), textOf(reference, against === "reference" ? answer : null)));
    if (theirs) cells.append(cell(theirs, row, "baseline", against === "base" ? answer : other));
    cells.append(cell(mine, row, theirs ? "candidate" : "", other));
    const article = made("article", `row ${TONES[letter] || ""}`, head, made("h5", "", "Question"), textOf(text(suite().question[row]), null), cells);
    article.tabIndex = -1;
    const others = suite().sides.filter((one) => one !== mine && one !== theirs);
    if (others.length) {
      const fold = made("details", "", made("summary", "", others.length === 1 ? "1 other answer" : `${others.length} other answers`));
      const open = () => fold.append(made("div", "cells", ...others.map((one) => cell(one, row, "", against === "reference" ? reference : null))));
      fold.addEventListener("toggle", open, { once: true });
      article.append(fold);
    }
    return article;
  }

  // a link from a gate: its suite, candidate and check, and of the rows those that it lost
  function follow({ suite: name, side: label, check: score }) {
    const [plain, slice] = score.split(" where ");
    pick.suite.value = data.suites.findIndex((one) => one.name === name);
    fillSuite();
    const fits = [...suite().sides.entries()].filter(([, one]) => one.base !== undefined && (label === one.label || label.startsWith(`${one.label} seed`)));
    if (fits.length) pick.side.value = fits[0][0];
    pick.check.value = suite().checks.findIndex((one) => one.name === plain);
    pick.slice.value = "";
    for (const option of pick.slice.options) {
      const [key, place] = option.value.split(".");
      if (slice && option.value && `${suite().slices[key][0]}=${text(place)}` === slice) pick.slice.value = option.value;
    }
    pick.wanted.value = "";
    outcome = (side().outcomes[check() + 1] || "").includes("l") ? "l" : "";
    apply();
  }

  fill(pick.suite, data.suites.map((one, place) => [place, one.name]));
  pick.suite.addEventListener("change", () => (fillSuite(), apply()));
  for (const one of [pick.side, pick.check, pick.slice, pick.marks]) one.addEventListener("change", apply);
  pick.wanted.addEventListener("input", () => {
    clearTimeout(pending);
    pending = setTimeout(apply, 150);
  });
  more.addEventListener("click", () => page()?.focus());
  for (const link of document.querySelectorAll("a[data-rows-check]")) {
    const { rowsSuite, rowsSide, rowsCheck } = link.dataset;
    link.hidden = false;
    link.addEventListener("click", () => follow({ suite: rowsSuite, side: rowsSide, check: rowsCheck }));
  }
  fillSuite();
  apply();
  root.hidden = false;
}

const packed = document.getElementById("rows-data");
if (packed && window.DecompressionStream) {
  unpacked(packed.content.textContent).then((data) => {
    packed.remove();
    browse(document.getElementById("rows"), data);
    document.getElementById("rows-without-script").remove();
  });
}
