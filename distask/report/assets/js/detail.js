// The open row: chat, raw reply and columns side by side.

let opening = 0;

/** Open a row that is on the page; `focus` moves there, for who asked with the keyboard. */
async function openRow(row, focus = false) {
  const mine = ++opening;
  if (state.open !== row) state.reply = 0;
  state.open = row;
  const values = await rows.row(row);
  if (mine !== opening) return;
  byId("detail").hidden = byId("divider").hidden = false;
  byId("split").classList.add("is-open");
  byId("detail-title").textContent = `Row ${count(numberOf(row))}`;
  if (isComparison) drawPair(values);
  else drawRow(values);
  const at = shownAt(row);
  byId("row-before").disabled = at <= 0;
  byId("row-next").disabled = at < 0 || at >= state.shown.length - 1;
  drawRows(true);
  if (at >= 0) intoSight(at);
  remember();
  announce(`Row ${numberOf(row)} is open`);
  if (focus) byId("detail-title").focus();
}

function closeRow() {
  opening += 1;
  state.open = null;
  byId("detail").hidden = byId("divider").hidden = true;
  byId("split").classList.remove("is-open");
  drawRows(true);
  remember();
  byId("table").querySelector("tr.marked button")?.focus({ preventScroll: true });
}

function drawRow(values) {
  const replies = repliesOf(values);
  const isGrouped = PAGE.grouped && replies.length > 0;
  state.reply = Math.min(state.reply, Math.max(0, replies.length - 1));
  drawReplyChoice(replies);
  const metadata = replies[state.reply];
  byId("panes").replaceChildren(...[
    replies.length ? chatPane(metadata) : null,
    replies.length ? replyPane(metadata) : null,
    peoplePane(),
    columnsPane(values, isGrouped ? replies.length : 0),
  ].filter(Boolean));
  byId("panes").scrollTop = 0;
}

/** A button for each reply of a grouped row; for rows of their own, those of the same input row. */
function drawReplyChoice(replies) {
  const box = byId("replies");
  if (replies.length > 1) {
    box.replaceChildren(...replies.map((reply, i) => {
      const failed = partsOf(reply, "error_").length > 0;
      return el("button", {
        type: "button", class: failed ? "is-failed" : "", "aria-pressed": String(i === state.reply),
        "aria-label": `Reply ${i + 1}${failed ? ", failed" : ""}`, text: String(i + 1), onclick: () => chooseReply(i),
      });
    }));
    return;
  }
  box.replaceChildren(...siblingsOf(state.open).map((row, i) =>
    el("button", { type: "button", "aria-pressed": String(row === state.open), "aria-label": `Reply ${i + 1}, row ${numberOf(row)}`, text: String(i + 1), onclick: () => openRow(row) })));
}

/** The rows that are replies to the same input row; they stand together. */
function siblingsOf(row) {
  const group = inputRows?.[row];
  if (group === null || group === undefined) return [];
  let first = row;
  while (first > 0 && inputRows[first - 1] === group) first -= 1;
  const found = [];
  for (let at = first; inputRows[at] === group; at++) found.push(at);
  return found.length > 1 ? found : [];
}

function chooseReply(which) {
  const buttons = [...byId("replies").children];
  if (which < 0 || which >= buttons.length) return;
  const siblings = siblingsOf(state.open);
  if (siblings.length) openRow(siblings[which]).then(() => byId("replies").children[which]?.focus());
  else {
    state.reply = which;
    openRow(state.open).then(() => byId("replies").children[which]?.focus());
  }
}

const chosenReply = () => [...byId("replies").children].findIndex((button) => button.getAttribute("aria-pressed") === "true");

function columnsPane(values, replies) {
  const pane = paneOf("Columns");
  const sought = state.query.toLowerCase();
  for (const [title, role] of [["", "output"], ["Input", "input"]]) {
    const of = [...columns.values()].filter((column) => column.role === role && Object.hasOwn(values, column.name));
    if (!of.length) continue;
    if (title) pane.append(el("h4", { text: title }));
    const list = el("dl", { class: "values" });
    for (const column of of) {
      let value = values[column.name];
      const isList = replies > 1 && role === "output" && Array.isArray(value) && value.length === replies;
      if (isList) value = value[state.reply];
      list.append(el("dt", { text: column.name }), el("dd", {}, whole(value, sought)));
      if (isList && column.kind !== "text") list.lastChild.append(othersOf(values[column.name]));
    }
    pane.append(list);
  }
  return pane;
}

/** What people and the judge say of the open row; null where nobody labelled it. */
function peoplePane() {
  const opinions = people?.[state.open];
  if (!opinions) return null;
  const pane = paneOf("People and judge");
  for (const [column, annotator, person, judge, agrees, comment] of opinions) {
    pane.append(
      el("h4", { class: agrees ? "" : "is-failed", text: `${column}: ${agrees ? "they agree" : "they disagree"}` }),
      el("dl", { class: "values" },
        el("dt", { text: annotator }), el("dd", {}, whole(person, "")),
        el("dt", { text: "judge" }), el("dd", {}, whole(judge, "")),
        ...(comment ? [el("dt", { text: "comment" }), el("dd", {}, whole(comment, ""))] : [])),
    );
  }
  return pane;
}

/** What all replies gave, on one line. */
function othersOf(given) {
  const texts = given.map(itemText);
  return el("p", { class: "all-replies" }, el("span", { class: "visually-hidden", text: "All replies: " }), ...texts.map((text, i) => el("span", { class: i === state.reply ? "this" : "", text })));
}

function mountDetail() {
  byId("close").addEventListener("click", closeRow);
  byId("row-before").addEventListener("click", () => markRow(shownAt(state.open) - 1, false));
  byId("row-next").addEventListener("click", () => markRow(shownAt(state.open) + 1, false));
  byId("copy-row").addEventListener("click", copyRow);
  byId("copy-link").addEventListener("click", () => copy(location.href, byId("copy-link")));
  const divider = byId("divider");
  const resize = (height) => {
    const most = byId("split").clientHeight - 120;
    byId("detail").style.height = `${Math.min(Math.max(height, 120), most)}px`;
  };
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    const move = (moved) => resize(byId("split").getBoundingClientRect().bottom - moved.clientY);
    divider.addEventListener("pointermove", move);
    divider.addEventListener("pointerup", () => divider.removeEventListener("pointermove", move), { once: true });
  });
  divider.addEventListener("keydown", (event) => {
    const way = { ArrowUp: 40, ArrowDown: -40 }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    resize(byId("detail").offsetHeight + way);
  });
}
