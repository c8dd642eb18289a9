// A reply's chat, its raw text and what the metadata says of it.

/** The metadata of each reply of a row of the output. */
function repliesOf(row) {
  let value = row?.[PAGE.metadata_column];
  if (typeof value === "string") {
    try {
      value = JSON.parse(value);
    } catch {
      return [];
    }
  }
  if (Array.isArray(value)) return value.filter((part) => part && typeof part === "object");
  return value && typeof value === "object" ? [value] : [];
}

/** The parts of metadata whose names begin with a word, each with the task that it is of: `raw_input_<task>`. */
function partsOf(metadata, beginning) {
  return Object.entries(metadata ?? {})
    .filter(([name, value]) => name.startsWith(beginning) && value !== null)
    .map(([name, value]) => [name.slice(beginning.length), value]);
}

function chatPane(metadata, title = "Chat") {
  const pane = paneOf(title);
  const chats = partsOf(metadata, "raw_input_").flatMap(([task, value]) => {
    const turns = turnsOf(value);
    const replies = [metadata[`raw_output_${task}`]].flat(Infinity);
    return turns.map((messages, turn) => [turns.length > 1 ? `${task}, ${turn + 1} of ${turns.length}` : task, messages, replies[turn]]);
  });
  for (const [name, messages, reply] of chats) {
    if (chats.length > 1) pane.append(el("h4", { text: name }));
    pane.append(...messages.map(messageBox));
    if (chats.length > 1 && typeof reply === "string") pane.append(messageBox({ role: "assistant", content: reply }));
  }
  if (!chats.length) pane.append(el("p", { class: "muted", text: "The chat was not stored." }));
  return pane;
}

/** The chats that a part of the metadata holds: one, or those of a loop's turns, however deep. */
function turnsOf(value) {
  if (!Array.isArray(value)) return [[value]];
  return value.some(Array.isArray) ? value.flatMap(turnsOf) : [value];
}

function messageBox(message) {
  const role = typeof message?.role === "string" ? message.role : "text";
  const box = el("div", { class: "message" }, el("h4", { text: role }));
  box.classList.add(["system", "user", "assistant", "tool"].includes(role) ? role : "other");
  const content = message?.content ?? message;
  for (const part of Array.isArray(content) ? content : [content]) box.append(partBox(part));
  return box;
}

/** A part of a message; an image or a sound is only named, never fetched or drawn. */
function partBox(part) {
  const sought = state.query.toLowerCase();
  if (typeof part === "string") return whole(part, sought);
  if (typeof part?.text === "string") return whole(part.text, sought);
  const kind = String(part?.type ?? "part").replace(/_url$/, "");
  const source = part?.image_url?.url ?? part?.image_url ?? null;
  if (typeof source !== "string") return whole(part, sought);
  const shown = source.startsWith("data:") ? `${source.slice(0, 40)}… (${several(source.length, "character")})` : source;
  return el("p", { class: "media" }, el("span", { class: "label", text: kind }), ` ${shown}`);
}

function replyPane(metadata, title = "Raw reply") {
  const pane = paneOf(title);
  const sought = state.query.toLowerCase();
  const texts = partsOf(metadata, "raw_output_");
  const errors = partsOf(metadata, "error_").flatMap(([task, value]) => [value].flat(Infinity).map((error) => [task, error]));
  for (const [task, error] of errors.filter(([, value]) => value)) {
    const box = el("div", { class: "error", role: "note" }, el("b", { text: error?.kind ?? "failed" }), ` ${error?.message ?? ""}`);
    if (texts.length > 1) box.append(el("span", { class: "muted", text: ` (${task})` }));
    pane.append(box);
  }
  for (const [task, text] of texts) {
    if (texts.length > 1) pane.append(el("h4", { text: task }));
    pane.append(text === "" ? el("p", { class: "muted", text: "The reply is empty." }) : el("div", { class: "raw" }, whole(text, sought)));
  }
  if (!texts.length) pane.append(el("p", { class: "muted", text: "There is no reply, or it was not stored." }));
  for (const part of ["reasoning", "refusal", "tool_calls"]) {
    for (const [, value] of partsOf(metadata, `${part}_`)) {
      pane.append(el("details", { class: "part", open: part === "refusal" }, el("summary", { text: part.replace("_", " ") }), whole(value, sought)));
    }
  }
  for (const [, value] of partsOf(metadata, "logprobs_")) {
    pane.append(el("details", { class: "part" }, el("summary", { text: "logprobs" }), whole(value, "")));
  }
  pane.append(figuresOf(metadata));
  return pane;
}

function figuresOf(metadata) {
  const facts = [];
  const spent = partsOf(metadata, "statistics_").flatMap(([, statistics]) => [statistics].flat(Infinity));
  const sum = (name) => spent.reduce((all, part) => (part?.[name] === undefined || part[name] === null ? all : (all ?? 0) + Number(part[name])), null);
  if (spent.length > 1) facts.push(["calls", spent.length]);
  facts.push(["tokens in", sum("input_tokens")], ["tokens out", sum("output_tokens")]);
  facts.push(["cached", sum("cached_tokens")], ["written to cache", sum("cache_write_tokens")], ["reasoning", sum("reasoning_tokens")]);
  const cost = sum("cost_usd");
  facts.push(["cost", cost === null ? null : `$${cost.toLocaleString("en", { maximumSignificantDigits: 3 })}`]);
  facts.push(["ended", metadata?.finish_reason ?? "stop"], ["served by", metadata?.served_model]);
  const known = facts.filter(([, value]) => value !== undefined && value !== null);
  return el(
    "dl",
    { class: "figures" },
    ...known.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: typeof value === "number" ? count(value) : plainText(value) }))),
  );
}

function paneOf(title) {
  return el("section", { class: "pane", tabindex: "0", "aria-label": title }, el("h3", { text: title }));
}
