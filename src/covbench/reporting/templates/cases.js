"use strict";

// The cases of a model. The data are scripts beside the page, because a page opened from disk can load nothing else.
const PAGE = 60; // tiles added at a time
const models = {};
let fold = null;
function addCases(values) { fold = values; }
function addModel(name, values) { models[name] = values; }

(function showCases() {
  const box = document.getElementById("gallery");
  const { model: own, root, fold: folder } = box.dataset;
  const files = Object.fromEntries(JSON.parse(document.getElementById("models").textContent));
  const words = (text) => text.replaceAll("_", " ");

  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function load(path) {
    return new Promise((done, failed) => {
      const script = element("script", { src: root + "cases/" + path + ".js" });
      script.addEventListener("load", done);
      script.addEventListener("error", () => failed(new Error(path)));
      document.head.append(script);
    });
  }
  const loadModel = (name) => (name in models ? Promise.resolve() : load(folder + "/" + files[name]));

  // A model's answer to a case: how wrong it is (the sort order), the kind of error, and a description.
  const share = (value) => (value === null || value === undefined ? "–" : (value / 1000).toFixed(3));
  const segments = () => fold.kind === "segmentation";

  function readClass(values, row) {
    const truth = fold.truth[row], called = values.predicted[row];
    const names = fold.classes.map(words);
    const binary = fold.classes.length === 2 && fold.positive;
    const kind = !binary ? (truth === called ? "right" : names[truth] + " predicted as " + names[called])
      : (truth === called ? "true " : "false ") + (fold.classes[called] === fold.positive ? "positive" : "negative");
    const said = names[truth] + ", predicted " + names[called] + " (" + share(values.p[called]?.[row]) + ")";
    return { order: values.p[truth][row] ?? -1, wrong: truth !== called, kind, words: said,
      sentence: binary ? kind + ": " + said : said,
      lines: names.map((name, number) => [name, share(values.p[number][row])]) };
  }

  function readMask(values, row) {
    const dice = values.dice[row], truth = values.true[row], found = values.predicted[row];
    const kind = dice === null ? "no lesion, none found" : !truth ? "false lesion" : !found ? "lesion missed"
      : dice < 500 ? "Dice below 0.5" : "Dice 0.5 and above";
    return { order: dice ?? 2000, wrong: dice !== null && dice < 500, kind, words: "Dice " + share(dice),
      sentence: kind + ": Dice " + share(dice),
      lines: [["Dice", share(dice)], ["Jaccard", share(values.jaccard[row])], ["true lesion, pixels", truth], ["predicted lesion, pixels", found]] };
  }
  const read = (name, row) => (segments() ? readMask : readClass)(models[name], row);

  function layers(row, ...overlays) {
    const stack = element("span", { className: "stack" });
    const position = fold.pictures[row];
    if (position === null) return element("span", { className: "stack none", textContent: "no image" });
    const base = root + "pictures/" + fold.folder + "/" + position;
    for (const source of [base + ".jpg", ...overlays.map((overlay) => (overlay === "truth" ? base + ".png" : overlay))]) {
      stack.append(element("img", { src: source, loading: "lazy", alt: "" }));
    }
    return stack;
  }
  const drawn = (name, row) => segments() && models[name].drawn.includes(row);
  const overlay = (name, row, ending) => root + "cases/" + folder + "/" + files[name] + "/" + row + ending;
  const title = (row) => fold.ids[row] + (fold.copies.length && fold.copies[row] ? ", augmented copy " + fold.copies[row] : "");

  // A dialog shows one case: image, truth, prediction and errors, and another model for comparison.
  const dialog = element("dialog", { id: "case" });
  document.body.append(dialog);
  let opened = null, other = "";

  function picture(caption, ...parts) {
    return element("figure", {}, layers(...parts), element("figcaption", { textContent: caption }));
  }

  function legend() {
    const errors = [["true positive", "tp"], ["false positive", "fp"], ["false negative", "fn"]];
    const classes = fold.classes.slice(1).map((name, number) => [words(name), "class" + (number % 6)]);
    const list = element("p", { className: "legend upright" });
    for (const [word, swatch] of [...classes, ...errors]) {
      list.append(element("span", {}, element("i", { className: "swatch " + swatch }), word));
    }
    return list;
  }

  function column(name, row) {
    const found = read(name, row);
    const list = element("dl", { className: "facts" });
    for (const [word, value] of found.lines) list.append(element("dt", { textContent: word }), element("dd", { textContent: value }));
    const pictures = element("div", { className: "pictures" });
    if (drawn(name, row)) {
      pictures.append(picture("prediction", row, overlay(name, row, ".png")), picture("errors", row, overlay(name, row, "e.png")));
    }
    if (models[name].explained?.includes(row)) {
      pictures.append(picture("where it looked (Grad-CAM)", row, overlay(name, row, "h.png")));
    }
    return element("section", {}, element("h3", { textContent: name }),
      element("p", { textContent: found.sentence }), pictures, list);
  }

  function step(by) {
    const position = shown.indexOf(opened) + by;
    if (position >= 0 && position < shown.length) open(shown[position]);
  }

  function open(row) {
    opened = row;
    const head = element("div", { className: "titlebar" }, element("h2", { id: "casename", textContent: title(row) }));
    const close = element("button", { type: "button", textContent: "Close", autofocus: true });
    close.addEventListener("click", () => dialog.close());
    const before = element("button", { type: "button", textContent: "‹ Worse" });
    const after = element("button", { type: "button", textContent: "Better ›" });
    before.addEventListener("click", () => step(-1));
    after.addEventListener("click", () => step(1));
    before.disabled = shown.indexOf(row) <= 0;
    after.disabled = shown.indexOf(row) === shown.length - 1;
    head.append(element("span", {}, before, " ", after, " ", close));
    const facts = fold.unit + " " + fold.units[row] + (fold.sources[row] ? ", from " + fold.sources[row] : "");
    const pictures = element("div", { className: "pictures" }, picture("image", row));
    if (fold.masks && fold.pictures[row] !== null) pictures.append(picture("truth", row, "truth"));
    if (fold.masks) pictures.append(legend());
    const columns = element("div", { className: "beside" }, column(own, row));
    if (other) columns.append(column(other, row));
    dialog.setAttribute("aria-labelledby", "casename");
    dialog.replaceChildren(head, element("p", { textContent: facts }), pictures, chooseOther(), columns);
    if (!dialog.open) dialog.showModal();
  }

  function chooseOther() {
    const select = element("select", { id: "beside" });
    select.append(new Option("no other model", ""));
    for (const name of Object.keys(files)) if (name !== own) select.append(new Option(name, name, false, name === other));
    select.addEventListener("change", async () => {
      other = select.value;
      if (other) await loadModel(other);
      open(opened);
      document.getElementById("beside").focus();
    });
    return element("p", {}, element("label", {}, "Compare with: ", select));
  }
  dialog.addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT") return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });

  // The gallery shows the rows that match every filter, worst first. It adds tiles as the reader scrolls.
  let rows = [], shown = [], results = [];
  const list = element("ul", { className: "tiles cases" });
  const count = element("p", { className: "caption" });
  count.setAttribute("role", "status");
  const more = element("button", { type: "button", textContent: "Show more" });
  more.addEventListener("click", grow);

  function tile(row) {
    const overlays = drawn(own, row) ? [overlay(own, row, "e.png")] : [];
    const button = element("button", { type: "button", className: "tile" }, layers(row, ...overlays),
      element("span", { textContent: title(row) }), element("span", { className: results[row].wrong ? "failed" : "", textContent: (results[row].wrong ? "✗ " : "") + results[row].words }));
    button.addEventListener("click", () => open(row));
    return element("li", {}, button);
  }

  function grow() {
    list.append(...shown.slice(list.children.length, list.children.length + PAGE).map(tile));
    more.hidden = list.children.length >= shown.length;
  }

  const choices = [];
  function choose(label, values, fits) {
    if (values.length < 2) return;
    const select = element("select", {});
    select.append(new Option("all", ""), ...values.map((value) => new Option(value, value)));
    select.addEventListener("change", apply);
    choices.push((row) => !select.value || fits(row, select.value));
    filters.append(element("label", {}, label + " ", select));
  }

  function apply() {
    shown = rows.filter((row) => choices.every((fits) => fits(row)));
    count.textContent = shown.length.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " cases";
    list.replaceChildren();
    list.parentElement?.scrollTo(0, 0);
    grow();
  }

  const filters = element("div", { className: "filters" });
  const unique = (values) => [...new Set(values)].filter((value) => value !== "").sort();

  function start() {
    rows = fold.ids.map((_, row) => row);
    results = rows.map((row) => read(own, row));
    rows.sort((a, b) => results[a].order - results[b].order);
    choose("Error", ["any", ...unique(results.map((result) => result.kind))],
      (row, value) => (value === "any" ? results[row].wrong : results[row].kind === value));
    choose(fold.unit, unique(fold.units), (row, value) => fold.units[row] === value);
    choose("Source", unique(fold.sources), (row, value) => fold.sources[row] === value);
    const scrolled = element("div", { className: "scrollbox" }, list, more);
    box.replaceChildren(filters, count, scrolled);
    apply();
    new IntersectionObserver((seen) => { if (seen.some((entry) => entry.isIntersecting) && !more.hidden) grow(); },
      { root: scrolled, rootMargin: "900px" }).observe(more);
  }

  Promise.all([load(folder), loadModel(own)]).then(start, (error) => {
    box.textContent = "The cases could not be read: " + error.message;
  });
})();
