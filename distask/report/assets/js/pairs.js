// Two results: a row is a pair, each cell says what was and what is now.

/** What stood in a column in A, and stands in B. */
function pairIn([before, after], column) {
  return { was: own(before, column.name), now: own(after, column.name) };
}

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function pairCell({ was, now }, column, row) {
  const made = el("td", {});
  const words = (value) => (value === null || value === undefined ? "null" : plainText(value).replace(/\s+/g, " ").slice(0, CELL_CHARACTERS));
  if (isSame(was, now)) {
    made.append(el("span", { class: "was", text: words(now) }));
    return made;
  }
  made.append(el("span", { class: "was", text: `${words(was)} → ` }), el("span", { class: wayOf(column, row), text: words(now) }));
  return made;
}

function wayOf(column, row) {
  const ways = columns.get(`measures/way ${column.name}`);
  const way = ways.labels[ways.values[row]];
  return way === "better" || way === "worse" ? way : "differs";
}

function fateCell(row) {
  const fate = columns.get("measures/fate");
  const word = fate.labels[fate.values[row]];
  const style = { "good in both": "good", "failure lost": "good", "failure gained": "failed", "failed in both": "failed" }[word] ?? "cut";
  return el("td", { class: "state" }, el("span", { class: style, text: word }));
}

/** The open pair: both replies, the columns of both, the chat. */
function drawPair([before, after]) {
  const replies = [repliesOf(before), repliesOf(after)];
  const most = Math.max(replies[0].length, replies[1].length);
  state.reply = Math.min(state.reply, Math.max(0, most - 1));
  drawReplyChoice(replies[0].length >= replies[1].length ? replies[0] : replies[1]);
  const [first, second] = replies.map((of) => of[state.reply]);
  const asked = chatPane(second ?? first, "Chat");
  if (first && second && !isSame(partsOf(first, "raw_input_"), partsOf(second, "raw_input_"))) {
    asked.querySelector("h3").textContent = "Chat of B";
    const other = chatPane(first, "Chat of A");
    other.removeAttribute("tabindex");
    asked.append(el("details", { class: "part" }, el("summary", { text: "Chat of A (different)" }), other));
  }
  byId("panes").replaceChildren(pairPane(before, after), replyPane(first, "Reply in A"), replyPane(second, "Reply in B"), asked);
}

function pairPane(before, after) {
  const pane = paneOf("Columns");
  const sought = state.query.toLowerCase();
  const body = el("tbody");
  for (const column of [...columns.values()].filter((of) => of.place.startsWith("columns/"))) {
    const { was, now } = pairIn([before, after], column);
    body.append(
      el("tr", { class: isSame(was, now) ? "" : "differs" },
        el("th", { scope: "row", text: column.name }), el("td", {}, whole(was, sought)), el("td", {}, whole(now, sought))),
    );
  }
  pane.append(
    el("table", { class: "pair" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "" }), el("th", { scope: "col", text: "A" }), el("th", { scope: "col", text: "B" }))), body),
  );
  const input = Object.entries(after ?? before).filter(([name]) => ![PAGE.metadata_column, "model_name"].includes(name) && !PAGE.columns.some((column) => column.name === name));
  if (input.length) {
    pane.append(el("h4", { text: "Input" }));
    pane.append(el("dl", { class: "values" }, ...input.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", {}, whole(value, sought))])));
  }
  return pane;
}
