// Begin: unpack what rows are filtered by, draw, and follow the address.

let inputRows = null;
/** Row on the page to the verdicts of people on it, each with the judge's; null without labels. */
let people = null;

async function begin() {
  setTheme(keptTheme());
  const index = JSON.parse(await unpacked("index"));
  rowNumbers = Array.isArray(index.rows) ? index.rows : null;
  rows = new Rows(PAGE.blocks, rowNumbers ? rowNumbers.length : index.rows);
  inputRows = index.groups;
  people = index.people ?? null;
  columns = columnsOf(index, rows.total);
  chooseColumns();
  fillSort();
  fillFilterForm();
  mountTable();
  mountDetail();
  mountKeys();
  mountWays();
  recall();
  await apply();
  mountCards();
  showPart(false);
  if (state.open !== null && partNow() === "rows") await openRow(state.open);
  window.addEventListener("hashchange", follow);
  document.documentElement.dataset.ready = "true";
}

async function follow() {
  if (partNow() === "rows") {
    const { open, reply } = state;
    if (recall()) await apply();
    showPart(true);
    if (state.open === null) {
      if (!byId("detail").hidden) closeRow();
    } else if (state.open !== open || state.reply !== reply || byId("detail").hidden) await openRow(state.open);
  } else showPart(true);
}

begin();
