// What stands in a cell: a value in a few words for the table, in full for an open row.

const COLUMNS_SHOWN = { input: 3, output: 7 };

/** The value of a column in a row that was read. */
function valueIn(row, column) {
  return isComparison ? pairIn(row, column) : own(row, column.name);
}

/** What a row itself has under a name; anybody may call a column `constructor`. */
const own = (row, name) => (row && Object.hasOwn(row, name) ? row[name] : undefined);

/** A value as one text. */
function plainText(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  if (value instanceof Exact) return value.source;
  if (Array.isArray(value)) return value.map(itemText).join(" · ");
  return typeof value === "object" ? JSON.stringify(value, replaced) : String(value);
}

/** The same for an item of a list, where nothing would be seen of a null or an empty list. */
function itemText(item) {
  if (item === null) return "null";
  if (!Array.isArray(item)) return plainText(item);
  return item.length ? item.map(itemText).join(", ") : "[]";
}

function replaced(key, value) {
  return value instanceof Exact ? JSON.rawJSON?.(value.source) ?? value.source : value;
}

const CELL_CHARACTERS = 240;

/** The table's cell: one line, from shortly before what is sought. */
function cell(value, column) {
  const made = el("td", { class: column.kind === "number" ? "figure" : "" });
  if (value === undefined) return made;
  if (value === null) {
    made.append(el("span", { class: "nothing", text: "null" }));
    return made;
  }
  const text = plainText(value).replace(/\s+/g, " ");
  const sought = state.query.toLowerCase();
  const at = sought ? text.toLowerCase().indexOf(sought) : -1;
  const from = at > 18 ? at - 12 : 0;
  const piece = `${from ? "…" : ""}${text.slice(from, from + CELL_CHARACTERS)}`;
  if (column.kind === "label" && !Array.isArray(value)) made.append(el("span", { class: "label" }, ...marked(piece, sought)));
  else made.append(...marked(piece, sought));
  return made;
}

/** The state of a row's replies: good, or which failure; in words for who does not see the colour. */
function stateCell(row) {
  const failure = columns.get(STATE);
  const made = el("td", { class: "state" });
  const [from, to] = [failure.starts[row], failure.starts[row + 1]];
  const codes = [...failure.values.slice(from, to)].filter((code) => !Number.isNaN(code));
  const ended = columns.get("measures/finish_reason");
  const wasCut = ended.labels?.includes("length") && ended.some(row, (code) => ended.labels[code] === "length");
  if (!codes.length) made.append(el("span", { class: "good", text: to - from > 1 ? `${to - from} good` : "good" }));
  else {
    const kinds = [...new Set(codes.map((code) => failure.labels[code]))].join(", ");
    made.append(el("span", { class: "failed", text: to - from > 1 ? `${codes.length}/${to - from} ${kinds}` : kinds }));
  }
  if (wasCut) made.append(el("span", { class: "cut", text: "cut", title: "ended at max_tokens" }));
  return made;
}

/** A value in full. */
function whole(value, sought) {
  if (value === null || value === undefined) return el("span", { class: "nothing", text: "null" });
  if (typeof value === "string") return el("div", { class: "text" }, ...marked(value, sought));
  if (value instanceof Exact) return el("span", { class: "figure", text: value.source });
  if (typeof value === "number") return el("span", { class: "figure", text: String(value) });
  if (typeof value === "boolean") return el("span", { class: "label", text: String(value) });
  if (Array.isArray(value) && value.every((item) => item === null || typeof item !== "object")) {
    if (!value.length) return el("span", { class: "nothing", text: "an empty list" });
    return el("ol", { class: "items", start: "1" }, ...value.map((item) => el("li", {}, whole(item, sought))));
  }
  return el("pre", { tabindex: "0" }, ...marked(JSON.stringify(value, replaced, 2), sought));
}

// Which columns the table shows

const visible = new Set();

function chooseColumns() {
  for (const [role, most] of Object.entries(COLUMNS_SHOWN)) {
    [...columns.values()].filter((c) => c.role === role).slice(0, most).forEach((c) => visible.add(c.place));
  }
  const every = [...columns.values()].filter((c) => c.place.startsWith("columns/"));
  const boxes = every.map((column) => {
    const box = el("input", { type: "checkbox", checked: visible.has(column.place) });
    box.addEventListener("change", () => {
      if (box.checked) visible.add(column.place);
      else visible.delete(column.place);
      drawHead();
      drawRows(true);
    });
    return el("label", { class: "check" }, box, ` ${column.title}`);
  });
  byId("column-choice").append(...boxes);
}

const shownColumns = () => [...columns.values()].filter((column) => visible.has(column.place));

/** What rows can be sorted by. */
function fillSort() {
  const options = [el("option", { value: "", text: "output order" })];
  for (const column of columns.values()) {
    if (column.kind === "empty" || column.place === "measures/finish_reason") continue;
    if (column.kind === "text" && column.place.startsWith("columns/")) {
      options.push(el("option", { value: `text:${column.place}`, text: column.title }));
      options.push(el("option", { value: column.place, text: `length of ${column.title}` }));
    } else if (column.kind !== "object") {
      options.push(el("option", { value: column.place, text: column.kind === "long list" ? `items of ${column.title}` : column.title }));
    }
  }
  byId("sort-by").append(...options);
}
