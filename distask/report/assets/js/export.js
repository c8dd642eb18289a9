// Take rows away: one as JSON, those that are shown as JSON Lines.

async function copyRow() {
  if (state.open === null) return;
  await copy(await rows.line(state.open), byId("copy-row"));
}

/** Save the rows that are shown, in their order, as they are in the output. */
async function exportRows() {
  const lines = new Map();
  const places = Int32Array.from(state.shown).sort();
  const mine = turn;
  await rows.scan(places, (line, row) => lines.set(row, line), { isCurrent: () => mine === turn, report: reportProgress });
  reportProgress(1);
  if (mine !== turn) return;
  const blob = new Blob([...state.shown].map((row) => `${lines.get(row)}\n`), { type: "application/x-ndjson" });
  const link = el("a", { href: URL.createObjectURL(blob), download: PAGE.export_name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  announce(`${several(places.length, "row")} saved`);
}
