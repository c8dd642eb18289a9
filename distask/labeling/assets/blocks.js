// Draw the blocks of a row. Only `html` is inserted as HTML: the server made it and escaped every tag of the text.

let isRendered = settings.get("rendered") !== "no";

function blockBox(block) {
  switch (block.kind) {
    case "text": {
      const made = el("div", { class: isRendered ? "prose" : "written" });
      if (isRendered) made.innerHTML = block.html;
      else made.textContent = block.raw;
      for (const scrolled of made.querySelectorAll("pre")) scrolled.tabIndex = 0;
      return made;
    }
    case "code": {
      const made = el("pre", { class: "code", tabindex: "0" });
      made.innerHTML = block.html;
      return made;
    }
    case "chat":
      return el("div", { class: "chat" }, ...block.messages.map(messageBox));
    case "list": {
      const made = el("ol", { class: "items" }, ...block.items.map((item) => el("li", {}, blockBox(item))));
      if (block.left_out) made.append(el("li", { class: "note", text: `… ${COUNT.format(block.left_out)} more` }));
      return made;
    }
    case "image": {
      const picture = el("img", { src: block.src, alt: block.alt });
      return el("button", { type: "button", class: "picture", title: "Show in full size", onclick: (event) => event.currentTarget.classList.toggle("full") }, picture);
    }
    case "audio":
      return el("audio", { controls: true, src: block.src });
    case "note":
      return el("p", { class: "note", text: block.text });
    default:
      return el("div", { class: "written", text: block.text });
  }
}

function messageBox(message) {
  const known = ["system", "user", "assistant", "tool", "developer"].includes(message.kind) ? message.kind : "other";
  return el("div", { class: `message ${known}` }, el("h3", { text: message.role }), ...message.blocks.map(blockBox));
}

function columnBox(column, title = column.name) {
  const [first] = column.blocks;
  const isShort = column.blocks.length === 1 && first.kind === "plain" && first.text.length <= 40;
  return el(
    "section",
    { class: isShort ? "column short" : "column", "aria-label": title },
    el("h2", {}, title, column.description && title === column.name ? el("span", { class: "muted", text: ` ${column.description}` }) : null),
    ...column.blocks.map(blockBox),
  );
}

/** Draw an item; `pair` names the two sides of a comparison. */
function drawItem(item, pair) {
  const parts = item.columns.map((column) => columnBox(column));
  if (item.sides) {
    const boxes = item.sides.map((column, place) => columnBox(column, pair?.[place] ?? column.name));
    parts.push(el("div", { class: "sides" }, ...boxes));
  }
  if (item.more.length) {
    parts.push(el("details", { class: "more" }, el("summary", { text: `Other columns (${item.more.length})` }), ...item.more.map((column) => columnBox(column))));
  }
  if (FACTS.has_prompt) parts.push(promptBox());
  byId("item").replaceChildren(...parts);
}

/** The chat that the judge gets, loaded when it is opened. */
function promptBox() {
  const made = el("details", { class: "more" }, el("summary", { text: "What the model is asked" }));
  made.addEventListener("toggle", async () => {
    if (!made.open || made.childElementCount > 1) return;
    const { prompt } = await ask("/api/prompt");
    made.append(...(prompt ?? []).map(blockBox));
  });
  return made;
}
