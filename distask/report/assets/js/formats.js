// Format numbers and texts. What comes from rows reaches the page as text alone.

const PAGE = JSON.parse(document.getElementById("page").textContent);
const isComparison = PAGE.what === "comparison";
const count = (value) => COUNT.format(value);
const several = (value, word) => `${count(value)} ${value === 1 ? word : `${word}s`}`;

/** A number in a few figures, no more than it has. */
function number(value) {
  if (value === null || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-5)) return value.toExponential(3).replace(/\.?0+e/, "e");
  if (Number.isInteger(value)) return COUNT.format(value);
  const digits = size < 1e4 ? Math.max(0, 3 - Math.floor(Math.log10(size))) : 0;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

/** The same for the little room that an axis has. */
function short(value) {
  const size = Math.abs(value);
  if (size >= 1e15) return number(value);
  if (size >= 1e4) return value.toLocaleString("en-US", { notation: "compact", maximumFractionDigits: 1 });
  return number(Number(value.toPrecision(4)));
}

/** What a style's colour is at the moment, as a canvas takes it. */
function colour(name) {
  const probe = byId("announcer");
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

/** A text in pieces, the parts that were searched for marked. */
function marked(text, sought) {
  if (!sought) return [text];
  const pieces = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(sought); at >= 0 && pieces.length < 400; at = lower.indexOf(sought, from)) {
    if (at > from) pieces.push(text.slice(from, at));
    pieces.push(el("mark", { text: text.slice(at, at + sought.length) }));
    from = at + sought.length;
  }
  pieces.push(text.slice(from));
  return pieces;
}

/** Put a text on the clipboard, and say so on the button that did it. */
async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "visually-hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.dataset.says ?? button.textContent;
  button.dataset.says = before;
  button.textContent = "Copied";
  announce("Copied");
  setTimeout(() => (button.textContent = before), 1200);
}
