// What is looked at: filters, search, order, the open row. All of it is in the address, so that a link leads back here.

const state = {
  where: [],
  query: "",
  sort: null,
  down: false,
  open: null,
  reply: 0,
  shown: new Int32Array(0),
};
/** Milliseconds between two looks at what was found so far. */
const SHOWN_EVERY = 500;
const listeners = [];
let rows, columns, rowNumbers;
let turn = 0;

/** The number in the output of a row on the page, and back. */
const numberOf = (row) => (rowNumbers ? rowNumbers[row] : row);
function rowOf(number) {
  if (!rowNumbers) return number >= 0 && number < rows.total ? number : null;
  const at = rowNumbers.indexOf(number);
  return at < 0 ? null : at;
}

const isFiltered = () => state.where.length > 0 || state.query !== "";

/** Bring what is shown up to date after a filter, the search or the order has changed. */
async function apply() {
  const mine = ++turn;
  const isCurrent = () => mine === turn;
  const tests = state.where.map(testOf);
  const quick = tests.filter((test) => !test.reads);
  let found = [];
  for (let row = 0; row < rows.total; row++) if (quick.every((test) => test.passes(row))) found.push(row);
  const reading = tests.filter((test) => test.reads);
  if (state.query) reading.push(searchTest(state.query));
  if (reading.length) {
    found = await read(found, reading, isCurrent);
    if (!isCurrent()) return;
  }
  const keys = state.sort === null ? null : await keysOf(state.sort, isCurrent);
  if (!isCurrent()) return;
  reportProgress(1);
  state.shown = Int32Array.from(found);
  if (keys) {
    const way = state.down ? -1 : 1;
    const last = (row) => Number.isNaN(keys[row]);
    state.shown.sort((a, b) => last(a) - last(b) || (last(a) ? 0 : way * (keys[a] - keys[b])) || a - b);
  } else if (state.down) {
    state.shown.reverse();
  }
  listeners.forEach((listener) => listener());
  remember();
  announce(`${several(state.shown.length, "row")} of ${count(rows.total)}`);
}

/** Those of some rows whose lines pass; in the order of the output, the first ones are shown while the rest is read. */
async function read(places, tests, isCurrent) {
  const passed = [];
  let reported = performance.now();
  const report = (share) => {
    reportProgress(share);
    if (state.sort !== null || state.down || performance.now() - reported < SHOWN_EVERY) return;
    reported = performance.now();
    state.shown = Int32Array.from(passed);
    listeners.forEach((listener) => listener());
  };
  reportProgress(0);
  await rows.scan(places, (line, row) => tests.every((test) => test.passes(line)) && passed.push(row), {
    isCurrent,
    report,
    may: (text) => tests.every((test) => test.may(text)),
  });
  return passed;
}

function reportProgress(share) {
  const bar = byId("progress");
  bar.hidden = share >= 1;
  bar.value = share;
}

/** Numbers to sort by; texts are put in order once, and then sorted by their rank. */
async function keysOf(sort, isCurrent) {
  const [kind, place] = sort.startsWith("text:") ? ["text", sort.slice(5)] : ["number", sort];
  const column = columns.get(place);
  if (!column) return null;
  if (kind === "number") return column.keys;
  if (column.textKeys) return column.textKeys;
  const texts = new Array(rows.total).fill(null);
  const every = Int32Array.from({ length: rows.total }, (_, row) => row);
  const look = (line, row) => {
    const value = valueIn(parsed(line), column);
    if (value !== null && value !== undefined) texts[row] = plainText(value).slice(0, 80);
  };
  await rows.scan(every, look, { isCurrent, report: reportProgress });
  if (!isCurrent()) return null;
  const order = new Intl.Collator("en", { numeric: true }).compare;
  const ranked = [...every].filter((row) => texts[row] !== null).sort((a, b) => order(texts[a], texts[b]));
  const keys = new Float64Array(rows.total).fill(NaN);
  ranked.forEach((row, rank) => {
    keys[row] = rank && texts[ranked[rank - 1]] === texts[row] ? keys[ranked[rank - 1]] : rank;
  });
  return (column.textKeys = keys);
}

/** A row's place among those that are shown; -1 where it is not. */
const shownAt = (row) => (row === null ? -1 : state.shown.indexOf(row));

function addFilter(filter) {
  const same = JSON.stringify(filter);
  if (!state.where.some((known) => JSON.stringify(known) === same)) state.where.push(filter);
  apply();
}

function clearFilters() {
  state.where = [];
  state.query = "";
  byId("search").value = "";
  apply();
}

// The address

const partNow = () => (location.hash.slice(1).split("?")[0] || "summary");

function addressOf(part) {
  const words = new URLSearchParams();
  if (state.open !== null) words.set("row", numberOf(state.open));
  if (state.open !== null && state.reply) words.set("reply", state.reply);
  if (state.query) words.set("q", state.query);
  if (state.sort !== null) words.set("sort", state.sort);
  if (state.down) words.set("down", "1");
  if (state.where.length) words.set("where", JSON.stringify(state.where));
  const query = words.toString();
  return `#${part}${query ? `?${query}` : ""}`;
}

/** Keep the address in step, without a new entry in the history; the way back to the rows leads to what was seen. */
function remember() {
  document.querySelector('[data-part="rows"]').setAttribute("href", addressOf("rows"));
  if (partNow() === "rows") history.replaceState(null, "", addressOf("rows"));
}

/** Take over what an address says; whether the filters or the order have changed. */
function recall() {
  const words = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const before = JSON.stringify([state.where, state.query, state.sort, state.down]);
  state.where = filtersIn(words.get("where"));
  state.query = words.get("q") ?? "";
  const sort = words.get("sort");
  state.sort = sort !== null && columns.has(sort.replace(/^text:/, "")) ? sort : null;
  state.down = words.get("down") === "1";
  state.open = words.has("row") ? rowOf(Number(words.get("row"))) : null;
  state.reply = Number(words.get("reply") ?? 0) || 0;
  return before !== JSON.stringify([state.where, state.query, state.sort, state.down]);
}

/** Whether an address's filter is one: anybody may have written it. */
function isFilter(filter) {
  if (!columns.has(filter?.place) || !Object.hasOwn(FILTERS, filter.op)) return false;
  try {
    testOf(filter);
    return Boolean(FILTERS[filter.op].words(filter, columns.get(filter.place)));
  } catch {
    return false;
  }
}

function filtersIn(text) {
  try {
    const read = JSON.parse(text ?? "[]");
    return Array.isArray(read) ? read.filter(isFilter) : [];
  } catch {
    return [];
  }
}
