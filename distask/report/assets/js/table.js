// The table: of a hundred thousand rows it makes those that are in sight.

const ROW_HEIGHT = 36;
const ROWS_AROUND = 6;
const WIDTHS = { number: 104, boolean: 90, label: 136, text: 270, object: 240, "long list": 200, empty: 80 };
/** The column that says what became of a row. */
const STATE = isComparison ? "measures/fate" : PAGE.replies ? "measures/failure" : null;
let drawn = { first: -1, last: -1 };
let marker = 0;

function drawHead() {
  const of = shownColumns();
  const headings = [
    headCell("Row", null, 84),
    ...(STATE ? [headCell("State", STATE, 130)] : []),
    ...of.map((column) => headCell(column.title, sortPlace(column), widthOf(column), column.kind)),
  ];
  byId("table").tHead.rows[0].replaceChildren(...headings.map(({ cell: made }) => made));
  byId("table").querySelector("colgroup").replaceChildren(
    ...headings.map(({ width }) => {
      const made = el("col");
      made.style.width = `${width}px`;
      return made;
    }),
  );
  byId("table").style.minWidth = `${headings.reduce((sum, { width }) => sum + width, 0)}px`;
  byId("table").setAttribute("aria-colcount", headings.length);
}

/** Of texts, as much as most of them need, within bounds. */
function widthOf(column) {
  const widest = WIDTHS[column.kind];
  if (column.kind !== "text" || !column.facts.spread) return widest;
  return Math.min(widest, Math.max(90, 28 + 7.5 * column.facts.spread.p95, 40 + 8 * column.title.length));
}

const sortPlace = (column) => (column.kind === "text" ? `text:${column.place}` : column.kind === "object" ? undefined : column.place);

function headCell(title, sort, width, kind = "") {
  const made = el("th", { scope: "col", class: kind === "number" && !isComparison ? "figure" : "" });
  if (sort === undefined) {
    made.textContent = title;
    return { cell: made, width };
  }
  const isSorted = state.sort === sort && (sort !== null || state.down);
  made.setAttribute("aria-sort", isSorted ? (state.down ? "descending" : "ascending") : "none");
  const button = el("button", { type: "button", onclick: () => sortBy(sort) });
  button.append(el("span", { text: title }), el("span", { class: "way", "aria-hidden": "true", text: isSorted ? (state.down ? "↓" : "↑") : "" }));
  made.append(button);
  return { cell: made, width };
}

/** Upwards, then downwards, then as the output has them. */
function sortBy(sort) {
  if (state.sort !== sort) [state.sort, state.down] = [sort, false];
  else if (!state.down) state.down = true;
  else [state.sort, state.down] = [null, false];
  apply();
}

/** Make the rows that are in sight; all anew where `anew` says so. */
function drawRows(anew = false) {
  const box = byId("table-box");
  const total = state.shown.length;
  const first = Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - ROWS_AROUND);
  const last = Math.min(total, Math.ceil((box.scrollTop + box.clientHeight) / ROW_HEIGHT) + ROWS_AROUND);
  drawPager();
  if (!anew && first === drawn.first && last === drawn.last) return;
  drawn = { first, last };
  const of = shownColumns();
  const made = [];
  for (let at = first; at < last; at++) made.push(rowAt(at, of));
  const focused = document.activeElement?.closest?.("tr")?.dataset.row;
  byId("table").tBodies[0].replaceChildren(spacer(first), ...made, spacer(total - last));
  byId("table").setAttribute("aria-rowcount", total + 1);
  byId("no-rows").hidden = total > 0;
  if (focused !== undefined) byId("table").querySelector(`tr[data-row="${Number(focused)}"] button`)?.focus({ preventScroll: true });
}

function spacer(rowsLeftOut) {
  const made = el("tr", { class: "spacer", "aria-hidden": "true" });
  made.style.height = `${rowsLeftOut * ROW_HEIGHT}px`;
  return made;
}

function rowAt(at, of) {
  const row = state.shown[at];
  const isOpen = row === state.open;
  const made = el("tr", { "aria-rowindex": at + 2, "aria-current": isOpen ? "true" : null, "data-row": row, class: at === marker ? "marked" : "" });
  const name = numberOf(row);
  const open = el("button", { type: "button", class: "row-number", tabindex: at === marker ? "0" : "-1", "aria-label": `Open row ${name}`, text: count(name) });
  made.append(el("th", { scope: "row" }, open));
  if (STATE) made.append(isComparison ? fateCell(row) : stateCell(row));
  const values = rows.atHand(row);
  const cellOf = isComparison ? pairCell : cell;
  if (values) made.append(...of.map((column) => cellOf(valueIn(values, column), column, row)));
  else {
    made.append(...of.map(() => el("td", { class: "coming" })));
    rows.block(rows.blockOf(row)).then(() => soon());
  }
  made.addEventListener("click", () => {
    marker = at;
    openRow(row);
  });
  return made;
}

let isSoon = false;
function soon() {
  if (isSoon) return;
  isSoon = true;
  requestAnimationFrame(() => {
    isSoon = false;
    drawRows(true);
  });
}

/** Mark a row of those that are shown, and bring it into sight; an open row follows. */
function markRow(at, focus = true) {
  const total = state.shown.length;
  if (!total) return;
  marker = Math.min(Math.max(at, 0), total - 1);
  intoSight(marker);
  if (state.open !== null) openRow(state.shown[marker]);
  else announce(`Row ${numberOf(state.shown[marker])}`);
  drawRows(true);
  if (focus) byId("table").querySelector("tr.marked button")?.focus({ preventScroll: true });
}

function intoSight(at) {
  const box = byId("table-box");
  const head = byId("table").tHead.offsetHeight;
  const top = at * ROW_HEIGHT;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW_HEIGHT > box.scrollTop + box.clientHeight - head) box.scrollTop = top + ROW_HEIGHT - box.clientHeight + head;
}

const rowsInSight = () => Math.max(1, Math.floor((byId("table-box").clientHeight - byId("table").tHead.offsetHeight) / ROW_HEIGHT));

function page(way) {
  const box = byId("table-box");
  box.scrollTop += way * rowsInSight() * ROW_HEIGHT;
  markRow(Math.floor(box.scrollTop / ROW_HEIGHT), false);
}

function drawPager() {
  const box = byId("table-box");
  const total = state.shown.length;
  const first = Math.min(total, Math.floor(box.scrollTop / ROW_HEIGHT) + 1);
  const last = Math.min(total, first + rowsInSight() - 1);
  byId("page-range").textContent = total ? `${count(first)}–${count(last)} of ${count(total)}` : "no rows";
  byId("page-first").disabled = byId("page-before").disabled = first <= 1;
  byId("page-next").disabled = byId("page-last").disabled = last >= total;
}

function mountTable() {
  const box = byId("table-box");
  box.addEventListener("scroll", () => drawRows(), { passive: true });
  new ResizeObserver(() => drawRows(true)).observe(box);
  byId("page-first").addEventListener("click", () => markRow(0, false));
  byId("page-last").addEventListener("click", () => markRow(state.shown.length - 1, false));
  byId("page-before").addEventListener("click", () => page(-1));
  byId("page-next").addEventListener("click", () => page(1));
  byId("go-to").addEventListener("submit", (event) => {
    event.preventDefault();
    const row = rowOf(Number(byId("go-to-row").value.replace(/[,\s]/g, "")));
    const at = shownAt(row);
    if (at >= 0) markRow(at);
    else announce("That row does not match the filters");
    byId("go-to-row").setAttribute("aria-invalid", at < 0);
  });
  byId("sort-by").addEventListener("change", () => {
    state.sort = byId("sort-by").value || null;
    apply();
  });
  byId("sort-way").addEventListener("click", () => {
    state.down = !state.down;
    apply();
  });
  let typed;
  byId("search").addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => {
      state.query = byId("search").value.trim();
      apply();
    }, 180);
  });
}

listeners.push(() => {
  marker = Math.max(0, shownAt(state.open));
  byId("sort-by").value = state.sort ?? "";
  byId("sort-way").setAttribute("aria-label", state.down ? "Sort: descending" : "Sort: ascending");
  byId("sort-way").firstElementChild.textContent = state.down ? "↓" : "↑";
  if (byId("search").value.trim() !== state.query) byId("search").value = state.query;
  byId("table-box").scrollTop = 0;
  drawHead();
  drawChips();
  intoSight(marker);
  drawRows(true);
});
