// The keyboard, the colours, and the parts of the page.

const THEMES = { system: "system", light: "light", dark: "dark" };

function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme").setAttribute("aria-label", `Colours: ${THEMES[name]}`);
  byId("theme").title = `Colours: ${THEMES[name]} (t)`;
  byId("theme").dataset.now = name;
  charts.forEach((chart) => chart.redraw());
  try {
    localStorage.setItem("distask-report-theme", name);
  } catch {
    // a page opened from a file may keep nothing
  }
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const name = names[(names.indexOf(byId("theme").dataset.now) + 1) % names.length];
  setTheme(name);
  announce(`Colours: ${THEMES[name]}`);
}

function keptTheme() {
  try {
    const kept = localStorage.getItem("distask-report-theme");
    return kept in THEMES ? kept : "system";
  } catch {
    return "system";
  }
}

/** Show the part that the address names. */
function showPart(focus) {
  const part = partNow();
  const isRows = part === "rows";
  byId("rows").hidden = !isRows;
  byId("overview").hidden = isRows;
  document.body.classList.toggle("in-rows", isRows);
  document.querySelectorAll("[data-part]").forEach((link) => {
    if (link.dataset.part !== part) link.removeAttribute("aria-current");
    else {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  });
  if (isRows) {
    drawRows(true);
    if (focus) byId("rows-title").focus({ preventScroll: true });
    return;
  }
  drawOverview();
  const section = byId(part);
  if (!section || section.closest("#overview") === null) return;
  section.scrollIntoView({ block: "start" });
  charts.forEach((chart) => chart.resize());
}

const isTyping = (target) => target.closest("input, select, textarea, [contenteditable]") !== null;

const KEYS = {
  j: () => markRow(state.open === null && drawn.first < 0 ? 0 : marker + 1),
  k: () => markRow(marker - 1),
  ArrowDown: () => markRow(marker + 1),
  ArrowUp: () => markRow(marker - 1),
  PageDown: () => page(1),
  PageUp: () => page(-1),
  Home: () => markRow(0),
  End: () => markRow(state.shown.length - 1),
  ArrowLeft: () => state.open !== null && chooseReply(chosenReply() - 1),
  ArrowRight: () => state.open !== null && chooseReply(chosenReply() + 1),
  c: copyRow,
};
const EVERYWHERE = {
  "/": () => {
    if (partNow() !== "rows") location.hash = addressOf("rows");
    requestAnimationFrame(() => byId("search").focus());
  },
  "?": () => byId("shortcuts").showModal(),
  o: () => (location.hash = "#summary"),
  r: () => (location.hash = addressOf("rows")),
  t: nextTheme,
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("shortcuts").open) return;
  if (event.key === "Escape") return escape(event);
  if (isTyping(event.target)) return undefined;
  const inPane = event.target.closest(".pane, dialog, .menu[open], nav.pager, pre") !== null;
  const isArrow = event.key.length > 1;
  if (event.key === "Enter" && event.target === byId("table-box")) return void openRow(state.shown[marker], true);
  const does = EVERYWHERE[event.key] ?? (partNow() === "rows" && !(inPane && isArrow) ? KEYS[event.key] : undefined);
  if (!does) return undefined;
  event.preventDefault();
  does();
  return undefined;
}

/** Close the innermost of what is open. */
function escape(event) {
  const menu = document.querySelector(".menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  } else if (event.target === byId("search")) {
    byId("search").value = state.query = "";
    apply();
    byId("table-box").focus();
  } else if (partNow() === "rows" && state.open !== null) closeRow();
}

function mountKeys() {
  document.addEventListener("keydown", onKey);
  byId("theme").addEventListener("click", nextTheme);
  byId("help").addEventListener("click", () => byId("shortcuts").showModal());
  byId("export").addEventListener("click", exportRows);
  document.addEventListener("click", (event) => {
    document.querySelectorAll(".menu[open]").forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.redraw()));
}
