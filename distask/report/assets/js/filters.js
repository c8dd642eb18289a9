// Filters: what they say, which rows pass, the chips that show them, and the form that makes them.

/** Each kind of filter: a test of a leaf or of a line, and its words. */
const FILTERS = {
  between: {
    leaf: (column, { low, high, closed }) => (value) =>
      value >= (low ?? -Infinity) && (high === null || (closed ? value <= high : value < high)),
    words: ({ low, high, closed }, column) => {
      const unit = column.kind === "text" ? " characters" : column.kind === "long list" ? " items" : "";
      if (low === null) return `${closed ? "at most" : "below"} ${number(high)}${unit}`;
      if (high === null) return `at least ${number(low)}${unit}`;
      return low === high ? `${number(low)}${unit}` : `${number(low)} to ${closed ? "" : "below "}${number(high)}${unit}`;
    },
  },
  is: {
    leaf: (column, { label }) => {
      const code = column.labels.indexOf(label);
      return (value) => value === code;
    },
    words: ({ label }) => `is “${label}”`,
  },
  null: {
    leaf: () => Number.isNaN,
    words: () => "is null",
  },
  some: {
    leaf: () => (value) => !Number.isNaN(value),
    words: (filter, column) => (column.place === "measures/failure" ? "any" : "is not null"),
  },
  none: {
    row: (column) => (row) => !column.some(row, (value) => !Number.isNaN(value)),
    words: () => "none",
  },
  contains: {
    line: (column, { text }) => {
      const sought = text.toLowerCase();
      return (line) => holds(valueIn(parsed(line), column), sought);
    },
    words: ({ text }) => `contains “${text}”`,
  },
};

/** What a filter lets pass: a row by its number, or by its line where `reads` says so. */
function testOf(filter) {
  const column = columns.get(filter.place);
  const kind = FILTERS[filter.op];
  if (kind.line) return readingTest(filter.text, kind.line(column, filter));
  if (kind.row) return { reads: false, passes: kind.row(column, filter) };
  const leaf = kind.leaf(column, filter);
  return { reads: false, passes: (row) => column.some(row, leaf) };
}

/** The search looks into every text of a row, its chat and raw replies among them. */
function searchTest(query) {
  const sought = query.toLowerCase();
  return readingTest(query, (line) => holds(parsed(line), sought));
}

/** A test of a row's line; letters that JSON writes as they are can be looked for before anything is parsed. */
function readingTest(text, holdsIt) {
  const isPlain = /^[\x20-\x7e]*$/.test(text) && !/["\\]/.test(text);
  const plainly = isPlain ? new RegExp(text.replace(/[.*+?^${}()|[\]/]/g, "\\$&"), "i") : null;
  const may = (line) => !plainly || plainly.test(line);
  return { reads: true, may, passes: (line) => may(line) && holdsIt(line) };
}

/** Whether any text or number in a value holds what is sought, which is in lower case. */
function holds(value, sought) {
  if (typeof value === "string") return value.toLowerCase().includes(sought);
  if (typeof value === "number" || typeof value === "boolean") return String(value).includes(sought);
  if (value === null || value === undefined) return false;
  if (value instanceof Exact) return value.source.includes(sought);
  return Object.values(value).some((part) => holds(part, sought));
}

function drawChips() {
  const chips = state.where.map((filter, at) => {
    const column = columns.get(filter.place);
    const words = `${column.title} ${FILTERS[filter.op].words(filter, column)}`;
    const remove = () => {
      state.where.splice(at, 1);
      apply();
      (byId("chips").querySelector("button") ?? byId("search")).focus();
    };
    const button = el("button", { type: "button", class: "chip", "aria-label": `Remove filter: ${words}`, onclick: remove });
    button.append(words, el("span", { "aria-hidden": "true", text: "✕" }));
    return el("li", {}, button);
  });
  if (chips.length > 1) {
    chips.push(el("li", {}, el("button", { type: "button", class: "link", text: "Clear all", onclick: clearFilters })));
  }
  byId("chips").replaceChildren(...chips);
  byId("counted").textContent =
    state.shown.length === rows.total
      ? several(rows.total, "row")
      : `${count(state.shown.length)} of ${several(rows.total, "row")}`;
}

// The form

function fillFilterForm() {
  const choice = byId("filter-column");
  for (const [title, roles] of [["Made by the run", ["output"]], ["Input", ["input"]], ["Each reply", ["measure"]]]) {
    const of = [...columns.values()].filter((column) => roles.includes(column.role) && column.kind !== "empty");
    if (!of.length) continue;
    const group = el("optgroup", { label: title });
    group.append(...of.map((column) => el("option", { value: column.place, text: column.title })));
    choice.append(group);
  }
  choice.addEventListener("change", fillFilterValue);
  byId("add-filter").addEventListener("toggle", () => byId("add-filter").open && choice.focus());
  byId("filter-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const filter = filterInForm();
    if (!filter) return;
    byId("add-filter").open = false;
    byId("add-filter").querySelector("summary").focus();
    addFilter(filter);
  });
  fillFilterValue();
}

function fillFilterValue() {
  const column = columns.get(byId("filter-column").value);
  const parts = [];
  if (column.labels) {
    const options = [...column.labels].sort().map((label) => el("option", { value: `=${label}`, text: label || "(blank)" }));
    if (column.place === "measures/failure") {
      options.unshift(el("option", { value: "some", text: "any" }), el("option", { value: "none", text: "none" }));
    } else if (column.facts.nulls) options.push(el("option", { value: "null", text: "null" }));
    parts.push(el("label", {}, "is ", el("select", { id: "filter-label" }, ...options)));
  } else if (column.kind === "text" || column.kind === "object") {
    parts.push(el("label", {}, "contains ", el("input", { id: "filter-text", type: "text" })));
    if (column.facts.nulls) {
      parts.push(el("label", { class: "check" }, el("input", { id: "filter-null", type: "checkbox" }), " is null"));
    }
  }
  if (column.facts.histogram || column.place.startsWith("agreement/")) {
    const unit = column.measuresLength ? (column.kind === "text" ? " characters" : " items") : "";
    const entry = (id, word) => el("label", {}, `${word} `, el("input", { id, type: "number", step: "any" }));
    parts.push(el("div", { class: "pair" }, entry("filter-low", "at least"), entry("filter-high", "at most"), unit));
  }
  byId("filter-value").replaceChildren(...parts);
}

function filterInForm() {
  const place = byId("filter-column").value;
  const label = byId("filter-label")?.value;
  if (label?.startsWith("=")) return { place, op: "is", label: label.slice(1) };
  if (label) return { place, op: label };
  if (byId("filter-null")?.checked) return { place, op: "null" };
  const text = byId("filter-text")?.value;
  if (text) return { place, op: "contains", text };
  const bound = (id) => (byId(id)?.value ? Number(byId(id).value) : null);
  const [low, high] = [bound("filter-low"), bound("filter-high")];
  return low === null && high === null ? null : { place, op: "between", low, high, closed: true };
}
