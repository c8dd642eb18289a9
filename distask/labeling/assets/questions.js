// The questions of an item: draw them, take keys and clicks, and collect the answers.

const SHOWN_KEYS = { ArrowLeft: "←", ArrowRight: "→" };
const INSTANT = new Set(["choice", "pair", "boolean", "rating"]);
const TYPED = new Set(["number", "text", "list", "object"]);

/** What is answered: a question, or one entry of a question about each entry of a list. */
let slots = [];
let active = 0;

const isChoice = (slot) => slot.question.options.length > 0;
const isAnswered = (slot) => (TYPED.has(slot.question.kind) ? slot.field.value.trim() !== "" : slot.question.kind === "several" ? slot.chosen.size > 0 : slot.value !== undefined);
const savesAtOnce = () => slots.every((slot) => INSTANT.has(slot.question.kind));
const sameValue = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function drawQuestions(item) {
  slots = [];
  const boxes = FACTS.questions.map((question, number) => {
    const count = question.entries === null ? null : (item.entries[question.column] ?? 0);
    const legend = el("legend", { id: `question-${number}` }, el("span", { class: "name", text: question.column }), question.optional ? el("span", { class: "muted", text: " optional" }) : null);
    const description = question.description ? el("p", { class: "muted description", text: question.description }) : null;
    const groups = [];
    for (let entry = 0; entry < (count ?? 1); entry++) {
      const slot = { question, entry: count === null ? null : entry, value: undefined, chosen: new Set(), place: slots.length };
      slots.push(slot);
      groups.push(slotBox(slot, number));
    }
    if (count === 0) groups.push(el("p", { class: "note", text: "The list is empty; save to continue." }));
    return el("fieldset", { class: `question ${question.kind}` }, legend, description, ...groups);
  });
  byId("questions").replaceChildren(...boxes);
  byId("save").hidden = slots.length > 0 && savesAtOnce() && !slots.some((slot) => slot.question.optional);
  fill(item.draft);
  setActive(0);
}

function slotBox(slot, number) {
  const { question } = slot;
  const label = slot.entry === null ? question.column : `${question.entries} ${slot.entry + 1}`;
  const made = el("div", { class: "slot", role: "group", "aria-label": label });
  if (slot.entry !== null) made.append(el("p", { class: "entry", text: label }));
  if (isChoice(slot)) {
    slot.buttons = question.options.map((option) => {
      const shown = option.keys.slice(0, 2).map((key) => SHOWN_KEYS[key] ?? key);
      const button = el(
        "button",
        { type: "button", class: "option", "aria-pressed": "false", "aria-keyshortcuts": option.keys.join(" "), onclick: () => { setActive(slot.place); choose(slot, option); } },
        el("span", { class: "text", text: option.label }),
        question.kind === "rating" ? null : el("span", { class: "keys", "aria-hidden": "true" }, ...shown.slice(0, question.kind === "pair" ? 1 : 2).map((key) => el("kbd", { text: key }))),
      );
      button.addEventListener("focus", () => setActive(slot.place));
      return button;
    });
    made.append(el("div", { class: "options" }, ...slot.buttons));
  } else {
    const isShort = question.kind === "number";
    const help = { list: "One item per line", object: "JSON", number: rangeOf(question) }[question.kind] ?? "";
    slot.field = el(isShort ? "input" : "textarea", { class: "typed", "aria-label": label, placeholder: help, rows: isShort ? null : "4", inputmode: isShort ? "decimal" : null, spellcheck: question.kind === "object" ? "false" : null });
    slot.field.addEventListener("focus", () => setActive(slot.place));
    made.append(slot.field);
  }
  slot.box = made;
  slot.number = number;
  return made;
}

function rangeOf(question) {
  const { minimum, maximum } = question.bounds;
  if (minimum !== null && maximum !== null) return `from ${minimum} to ${maximum}`;
  return minimum !== null ? `${minimum} or more` : maximum !== null ? `${maximum} or less` : "a number";
}

/** Fill in the answers that were taken back. */
function fill(draft) {
  byId("comment").value = draft?.comment ?? "";
  if (!draft) return;
  for (const slot of slots) {
    const answer = draft.answers[slot.question.column];
    const value = slot.entry === null ? answer : answer?.[slot.entry];
    if (value === null || value === undefined) continue;
    if (TYPED.has(slot.question.kind)) slot.field.value = slot.question.kind === "object" ? JSON.stringify(value, null, 2) : Array.isArray(value) ? value.join("\n") : String(value);
    else if (slot.question.kind === "several") slot.chosen = new Set(slot.question.options.filter((option) => value.some((one) => sameValue(one, option.value))));
    else slot.value = value;
    drawSlot(slot);
  }
}

function drawSlot(slot) {
  slot.buttons?.forEach((button, place) => {
    const option = slot.question.options[place];
    const isChosen = slot.question.kind === "several" ? slot.chosen.has(option) : slot.value !== undefined && sameValue(slot.value, option.value);
    button.setAttribute("aria-pressed", String(isChosen));
  });
}

function setActive(place) {
  active = Math.max(0, Math.min(place, slots.length - 1));
  slots.forEach((slot) => slot.box.classList.toggle("active", slots.length > 1 && slot.place === active));
  const current = slots[active];
  if (current && slots.length > 1) current.box.scrollIntoView({ block: "nearest" });
}

/** Take a value for a question; saves if it was the last one and none needs typing. */
function choose(slot, option) {
  if (isSaving) return;
  if (slot.question.kind === "several") {
    if (slot.chosen.has(option)) slot.chosen.delete(option);
    else slot.chosen.add(option);
    drawSlot(slot);
    return;
  }
  slot.value = option.value;
  drawSlot(slot);
  const next = slots.find((other) => other.place > slot.place && !isAnswered(other)) ?? slots.find((other) => !isAnswered(other));
  if (savesAtOnce() && next === undefined) save();
  else if (next !== undefined) {
    setActive(next.place);
    if (TYPED.has(next.question.kind) && !next.question.optional) next.field.focus();
    else announce(`${slot.question.column}: ${option.label}`);
  }
}

/** Answer the active question with a key; returns whether the key means anything. */
function answerKey(key) {
  const slot = slots[active];
  const option = slot?.question.options.find((each) => each.keys.some((one) => one.toLowerCase() === key.toLowerCase()));
  if (option === undefined) return false;
  choose(slot, option);
  return true;
}

/** Go to another question. */
function moveActive(by) {
  if (slots.length < 2) return false;
  setActive(active + by);
  const slot = slots[active];
  if (slot.field) slot.field.focus();
  else {
    document.activeElement?.blur?.();
    announce(slot.box.getAttribute("aria-label"));
  }
  return true;
}

/** The answers as the server takes them; throws the sentence for a person if one is missing. */
function collected() {
  const answers = {};
  for (const slot of slots) {
    const { question } = slot;
    if (!isAnswered(slot) && !question.optional && question.kind !== "several") {
      setActive(slot.place);
      throw new Error(`${slot.box.getAttribute("aria-label")}: answer this first, or skip the item.`);
    }
    let value = question.kind === "several" ? question.options.filter((option) => slot.chosen.has(option)).map((option) => option.value) : slot.value ?? null;
    if (TYPED.has(question.kind)) value = typedValue(slot);
    if (slot.entry === null) answers[question.column] = value;
    else (answers[question.column] ??= []).push(value);
  }
  for (const question of FACTS.questions) if (question.entries !== null) answers[question.column] ??= [];
  return answers;
}

function typedValue({ question, field }) {
  const text = field.value.trim();
  if (text === "") return null;
  if (question.kind === "number") {
    const number = Number(text.replace(",", "."));
    if (Number.isNaN(number)) throw new Error(`${question.column}: “${text}” is not a number.`);
    return number;
  }
  if (question.kind === "list") return field.value.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return question.kind === "object" ? text : field.value;
}

/** A list of the keys that answer, for the help. */
function drawAnswerKeys() {
  const shown = (option) => el("kbd", { text: SHOWN_KEYS[option.keys[0]] ?? option.keys[0] });
  const rows = FACTS.questions.filter((question) => question.options.length).map((question) => {
    const options = question.options.filter((option) => option.keys.length);
    const isScale = options.every((option) => option.label === option.keys[0]);
    const keys = isScale ? options.flatMap((option) => [shown(option), " "]) : options.flatMap((option) => [shown(option), ` ${option.label}   `]);
    return el("tr", {}, el("th", { scope: "row", text: question.column }), el("td", {}, ...keys));
  });
  byId("answer-keys").replaceChildren(...rows);
}
