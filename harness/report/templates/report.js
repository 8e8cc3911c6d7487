"use strict";
// Filters and searches the answers. Without it every row is simply shown.
for (const block of document.querySelectorAll(".answers")) {
  const rows = [...block.querySelectorAll(".row")];
  const buttons = [...block.querySelectorAll("[data-filter]")];
  const search = block.querySelector("input");
  const shown = block.querySelector("output");
  const texts = new Map();
  let filter = "";
  let pending = 0;

  const textOf = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const apply = () => {
    const wanted = search.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const tagged = !filter || row.dataset.tags.split(" ").includes(filter);
      const keep = tagged && (!wanted || textOf(row).includes(wanted));
      row.hidden = !keep;
      count += keep ? 1 : 0;
    }
    shown.textContent = count === 1 ? "1 row" : `${count} rows`;
  };
  const choose = (name) => {
    filter = name;
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.filter === name));
    }
    apply();
  };
  for (const button of buttons) {
    button.addEventListener("click", () => choose(button.dataset.filter));
  }
  search.addEventListener("input", () => {
    clearTimeout(pending);
    pending = setTimeout(apply, 120);
  });
  block.querySelector(".controls").hidden = false;
  choose(rows.some((row) => row.dataset.tags.split(" ").includes("changed")) ? "changed" : "");
}
