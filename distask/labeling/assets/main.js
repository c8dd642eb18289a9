// The session: show an item, save its answer, show the next one.

let state = null;
let isSaving = false;
let shownAt = 0;
let hiddenFor = 0;
let hiddenSince = null;

const pairOf = () => {
  const question = FACTS.questions.find((each) => each.kind === "pair");
  if (!question) return null;
  const sides = question.options.filter((option) => !option.keys.includes("="));
  return sides.map((option, place) => (place === 0 ? `← ${option.label}` : `${option.label} →`));
};

function draw(next, sentence = "") {
  state = next;
  const { item, progress, last } = next;
  drawProgress(progress);
  drawLast(last);
  showFault("");
  const isOver = item === null;
  for (const id of ["reading", "answer"]) byId(id).hidden = isOver;
  byId("end").hidden = !isOver;
  if (isOver) drawEnd(progress);
  else {
    drawItem(item, pairOf());
    drawOthers(item.others);
    drawQuestions(item);
    byId("item-title").textContent = `Item ${COUNT.format(progress.done + 1)} of ${COUNT.format(progress.total)}`;
    byId("item-title").focus({ preventScroll: true });
    window.scrollTo(0, 0);
    shownAt = performance.now();
    hiddenFor = 0;
    hiddenSince = document.hidden ? shownAt : null;
    announce(`${sentence} Item ${progress.done + 1} of ${progress.total}.`.trim());
  }
  document.documentElement.dataset.turn = isOver ? "end" : String(item.turn);
}

function drawProgress({ done, total, pace, can_undo: canUndo }) {
  byId("bar").setAttribute("aria-valuemax", total);
  byId("bar").setAttribute("aria-valuenow", done);
  byId("bar-fill").style.width = `${total ? (100 * done) / total : 100}%`;
  byId("count").textContent = `${COUNT.format(done)} of ${COUNT.format(total)}`;
  const left = done < total ? `, about ${duration((pace ?? 0) * (total - done))} left` : "";
  byId("pace").textContent = pace === null ? "" : `${duration(pace)} each${left}`;
  byId("undo").disabled = !canUndo;
}

/** What was saved last, and what the judge answered. */
function drawLast(last) {
  byId("last").hidden = last === null;
  if (last === null) return byId("last").replaceChildren();
  if (last.skipped) return byId("last").replaceChildren(el("h2", { text: "Last item" }), el("p", { text: "skipped" }));
  const rows = Object.entries(last.answers).map(([column, answer]) => {
    const judged = last.judge.filter((reply) => column in reply).map((reply) => reply[column]);
    const isSame = judged.length > 0 && judged.every((value) => sameValue(value, answer));
    const cell = judged.length ? el("td", { class: isSame ? "same" : "differs" }, judged.map(words).join(" · ")) : null;
    return el("tr", {}, el("th", { scope: "row", text: column }), el("td", { text: words(answer) }), cell);
  });
  const head = last.judge.length ? el("thead", {}, el("tr", {}, el("td"), el("th", { scope: "col", text: "you" }), el("th", { scope: "col", text: "judge" }))) : null;
  const reasons = last.reasons.flatMap((reply) => Object.entries(reply)).map(([column, text]) => el("details", {}, el("summary", { text: `The judge's ${column}` }), el("div", { class: "written", text })));
  byId("last").replaceChildren(el("h2", { text: "Last item" }), el("table", {}, head, el("tbody", {}, ...rows)), ...reasons);
}

/** What others answered, for an adjudication. */
function drawOthers(others) {
  if (!others.length) return byId("others").replaceChildren();
  const columns = Object.keys(others[0].answers);
  const rows = others.map((other) =>
    el("tr", {}, el("th", { scope: "row", text: other.annotator }), el("td", { text: columns.map((column) => words(other.answers[column])).join(", ") }), el("td", { class: "muted", text: other.comment ?? "" })),
  );
  byId("others").replaceChildren(el("h2", { text: "They disagree" }), el("table", {}, el("tbody", {}, ...rows)));
}

function words(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return String(Math.round(value * 1000) / 1000);
  if (Array.isArray(value)) return value.map(words).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : value;
}

function drawEnd({ total, summary }) {
  byId("end-title").textContent = total === 1 ? "The only item is done" : `All ${COUNT.format(total)} items are done`;
  byId("end-text").textContent = `Everything is saved in ${FACTS.file}. The page closes its connection in ${Math.round(FACTS.grace)} seconds; until then you can take back the last answer.`;
  const facts = [`${COUNT.format(summary.answered)} answered`];
  if (summary.skipped) facts.push(`${COUNT.format(summary.skipped)} skipped`);
  if (summary.median_seconds !== null) facts.push(`${duration(summary.median_seconds)} each`);
  if (summary.repeated) facts.push(`${summary.consistent} of ${summary.repeated} repeated items answered the same`);
  byId("end-facts").textContent = facts.join(" · ");
  byId("end-undo").disabled = !state.progress.can_undo;
  byId("end-title").focus();
  announce("All items are done.");
}

/** The last screen: nothing can be answered any more. */
function close(title, text) {
  for (const id of ["reading", "answer"]) byId(id).hidden = true;
  byId("end").hidden = false;
  byId("end-title").textContent = title;
  byId("end-text").textContent = text;
  byId("end").querySelector(".actions").hidden = true;
  byId("finish").disabled = true;
  byId("end-title").focus();
  document.documentElement.dataset.turn = "closed";
  state = null;
}

function showFault(text) {
  byId("fault").hidden = text === "";
  byId("fault").textContent = text;
}

const secondsShown = () => (performance.now() - shownAt - hiddenFor - (hiddenSince === null ? 0 : performance.now() - hiddenSince)) / 1000;

document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenSince = performance.now();
  else if (hiddenSince !== null) {
    hiddenFor += performance.now() - Math.max(hiddenSince, shownAt);
    hiddenSince = null;
  }
});

/** Send something to the server and draw what it answers; only one request at a time. */
async function send(path, body, sentence) {
  if (isSaving || state === null) return;
  isSaving = true;
  document.body.classList.add("saving");
  try {
    draw(await ask(path, body), sentence);
  } catch (error) {
    if (error instanceof Refusal && error.state) draw(error.state, "This item was answered in another tab.");
    else if (error instanceof Refusal) showFault(error.message);
    else if (state.item === null) close("Done", `Everything is saved in ${FACTS.file}.`);
    else showFault(`distask label does not answer. Is it still running in the terminal? This item is not saved; every earlier one is, in ${FACTS.file}.`);
  } finally {
    isSaving = false;
    document.body.classList.remove("saving");
  }
}

function save() {
  if (!state?.item) return;
  let answers;
  try {
    answers = collected();
  } catch (error) {
    showFault(error.message);
    return;
  }
  send("/api/answer", { turn: state.item.turn, answers, seconds: secondsShown(), comment: byId("comment").value }, "Saved.");
}

function skip() {
  if (state?.item) send("/api/answer", { turn: state.item.turn, skipped: true, seconds: secondsShown(), comment: byId("comment").value }, "Skipped.");
}

const undo = () => state?.progress.can_undo && send("/api/undo", {}, "The last answer was taken back.");

async function finish() {
  if (state === null) return;
  try {
    await ask("/api/finish", {});
  } catch {
    // it has stopped already
  }
  const { done, total } = state.progress;
  close("Finished", `Everything is saved in ${FACTS.file}.${done < total ? " The same command continues where you stopped." : ""} You can close this page.`);
}

// Keys

const singleKeys = byId("single-keys");
singleKeys.checked = settings.get("single-keys") !== "no";
singleKeys.addEventListener("change", () => settings.set("single-keys", singleKeys.checked ? "yes" : "no"));

const COMMANDS = {
  s: skip,
  u: undo,
  c: () => byId("comment").focus(),
  m: () => byId("rendered").click(),
  f: finish,
  "?": () => byId("shortcuts").showModal(),
};

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.isComposing || byId("shortcuts").open) return;
  const isTyping = target.matches("textarea, input:not([type=checkbox])");
  if (key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    if (!event.repeat) save();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (isTyping) return typingKey(event);
  if (key === "Enter" && target.matches("button, summary, a")) return; // it is pressed
  if (event.repeat && key !== "ArrowDown" && key !== "ArrowUp") {
    if (key === "Enter" || key.length === 1) event.preventDefault();
    return; // a key that is held down must not answer the next item as well
  }
  if (key === "Enter") {
    event.preventDefault();
    save();
  } else if ((key === "ArrowDown" || key === "ArrowUp") && moveActive(key === "ArrowDown" ? 1 : -1)) event.preventDefault();
  else if (singleKeys.checked && state !== null) {
    if (state.item !== null && answerKey(key)) event.preventDefault();
    else if (COMMANDS[key.toLowerCase()]) {
      event.preventDefault();
      COMMANDS[key.toLowerCase()]();
    }
  }
});

/** In a field: Esc leaves it, Enter leaves a comment and saves a number. */
function typingKey(event) {
  const { key, target } = event;
  const isComment = target === byId("comment");
  if (key === "Escape" || (key === "Enter" && !event.shiftKey && isComment)) {
    event.preventDefault();
    target.blur();
    byId("item-title").focus({ preventScroll: true });
  } else if (key === "Enter" && target.matches("input")) {
    event.preventDefault();
    const next = slots.find((slot) => slot.place > active && !isAnswered(slot));
    if (next) moveActive(next.place - active);
    else if (!event.repeat) save();
  }
}

// Buttons

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
byId("skip").addEventListener("click", skip);
byId("undo").addEventListener("click", undo);
byId("end-undo").addEventListener("click", undo);
byId("finish").addEventListener("click", finish);
byId("end-finish").addEventListener("click", finish);
byId("help").addEventListener("click", () => byId("shortcuts").showModal());
byId("rendered").addEventListener("click", () => {
  isRendered = !isRendered;
  settings.set("rendered", isRendered ? "yes" : "no");
  drawRendered();
  if (state?.item) drawItem(state.item, pairOf());
});

function drawRendered() {
  byId("rendered").setAttribute("aria-pressed", String(isRendered));
}

const THEMES = ["system", "light", "dark"];
function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-label", `Colors: ${theme}`);
  settings.set("theme", theme);
}
byId("theme").addEventListener("click", () => {
  const before = document.documentElement.dataset.theme ?? "system";
  setTheme(THEMES[(THEMES.indexOf(before) + 1) % THEMES.length]);
});

setTheme(THEMES.includes(settings.get("theme")) ? settings.get("theme") : "system");
byId("who").textContent = FACTS.annotator;
byId("about").textContent = FACTS.description ?? "";
byId("about").hidden = !FACTS.description;
drawRendered();
drawAnswerKeys();
ask("/api/state")
  .then((first) => draw(first))
  .catch((error) => close("The page can't be shown", error.message))
  .finally(() => (document.documentElement.dataset.ready = "yes"));
