"use strict";

// Sorting: each heading has a button. Cells without a value stay at the end.
function sortKey(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.sort ?? (cell.classList.contains("undefined") ? "" : cell.textContent.trim());
  if (text === "" || text === "–") return null;
  const number = Number(text);
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compareKeys(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === typeof b) return sign * (a < b ? -1 : a > b ? 1 : 0);
  return typeof a === "number" ? -1 : 1;
}

function sortTable(table, column) {
  const headings = [...table.tHead.rows[0].cells];
  const descending = headings[column].getAttribute("aria-sort") !== "descending";
  headings.forEach((heading) => heading.removeAttribute("aria-sort"));
  headings[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row, column), row]);
  rows.sort((a, b) => compareKeys(a[0], b[0], descending ? -1 : 1));
  table.tBodies[0].append(...rows.map((entry) => entry[1]));
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortTable(table, column));
    heading.append(button);
  });
}

// A drop-down list of all values. The bar gets it only if there are at least two.
function addChoice(bar, word, all, values) {
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.append(new Option(all, ""), ...values.map((value) => new Option(value)));
  label.append(word + " ", select);
  if (values.length > 1) bar.append(label);
  return select;
}

// Filtering: each marked heading gets a drop-down list. A row is shown if it matches every list.
function makeFilterable(table) {
  const columns = [...table.tHead.rows[0].cells].filter((heading) => "filter" in heading.dataset);
  const rows = [...table.tBodies[0].rows];
  const read = (row, heading) => row.cells[heading.cellIndex].textContent.trim();
  const bar = document.createElement("div");
  bar.className = "filters";
  const choices = [];
  for (const heading of columns) {
    const values = [...new Set(rows.map((row) => read(row, heading)))].sort();
    if (values.length < 2) continue;
    choices.push([heading, addChoice(bar, heading.dataset.filter, "all", values)]);
  }
  const apply = () => rows.forEach((row) => {
    row.hidden = choices.some(([heading, select]) => select.value && select.value !== read(row, heading));
  });
  choices.forEach(([, select]) => select.addEventListener("change", apply));
  if (choices.length) table.closest(".tablebox").prepend(bar);
}

// One filter bar for all leaderboards of the first page: it selects tables by metric, columns by protocol, rows by family.
function addTick(bar, word) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  label.append(box, " " + word);
  bar.append(label);
  return box;
}

function showColumn(table, column, shown) {
  for (const row of table.rows) row.cells[column].hidden = !shown;
}

function makeLeadersFilterable(section) {
  const collect = (key) => [...new Set([...section.querySelectorAll(`[data-${key}]`)].map((item) => item.dataset[key]))];
  const bar = document.createElement("div");
  bar.className = "filters";
  const metric = addChoice(bar, "Metric", "each task's own", collect("metric"));
  const protocol = addChoice(bar, "Protocol", "all", collect("protocol"));
  const family = addChoice(bar, "Family", "all", collect("family"));
  const whole = addTick(bar, "every model");
  const apply = () => {
    for (const card of section.querySelectorAll(".card")) {
      const boards = [...card.querySelectorAll(".board")];
      boards.forEach((board, number) => { board.hidden = metric.value ? board.dataset.metric !== metric.value : number > 0; });
      card.querySelector(".empty").hidden = boards.some((board) => !board.hidden);
    }
    for (const table of section.querySelectorAll("table")) {
      for (const heading of table.querySelectorAll("[data-protocol]"))
        showColumn(table, heading.cellIndex, !protocol.value || heading.dataset.protocol === protocol.value);
      for (const row of table.tBodies[0].rows) {
        const facts = row.cells[0].dataset;
        row.hidden = !whole.checked && facts.top === "no" || Boolean(family.value) && facts.family !== family.value;
      }
    }
  };
  bar.addEventListener("change", apply);
  apply();
  section.querySelector(".cards").before(bar);
}

// Predictive values at the prevalence that the reader sets, by Bayes' theorem from likelihood ratios.
function predictValue(name, ratio, prevalence) {
  const share = 1 / (1 + (1 - prevalence) / (prevalence * ratio));
  return name === "ppv" ? share : 1 - share;
}

function updatePredictive(box, prevalence) {
  for (const cell of box.querySelectorAll("[data-predictive]")) {
    const { predictive, ratio, ends } = cell.dataset;
    const value = predictValue(predictive, Number(ratio), prevalence);
    cell.dataset.sort = value;
    cell.querySelector(".value").textContent = value.toFixed(3);
    const detail = cell.querySelector(".detail");
    const bounds = ends.split(" ").map((end) => predictValue(predictive, Number(end), prevalence)).sort((a, b) => a - b);
    if (detail) detail.textContent = bounds.map((bound) => bound.toFixed(3)).join("–");
  }
}

for (const input of document.querySelectorAll("input.prevalence"))
  input.addEventListener("input", () => {
    if (input.value && input.checkValidity()) updatePredictive(input.closest("details"), input.valueAsNumber / 100);
  });

// Theme: auto, light or dark. The browser remembers it where it can.
function remember(value) {
  try {
    if (value === undefined) return localStorage.getItem("covbench-theme");
    localStorage.setItem("covbench-theme", value);
  } catch { /* a page opened from disk may have no storage */ }
  return null;
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = "Theme: " + theme;
}

const themes = ["auto", "light", "dark"];
let theme = themes.includes(remember()) ? remember() : "auto";
document.getElementById("theme").hidden = false;
document.getElementById("theme").addEventListener("click", () => {
  theme = themes[(themes.indexOf(theme) + 1) % themes.length];
  remember(theme);
  setTheme(theme);
});
setTheme(theme);

for (const table of document.querySelectorAll("table.sortable")) {
  makeFilterable(table);
  makeSortable(table);
}

if (document.querySelector("#leaders .board")) makeLeadersFilterable(document.getElementById("leaders"));
