// The overview: charts in the cards, counts of what is shown beside those of all, and the ways from there to the rows.

const cards = [];

function showRows(filter) {
  state.open = null;
  addFilter(filter);
  location.hash = addressOf("rows");
}

/** Draw each card's chart when it comes into sight. */
function mountCards() {
  const sight = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      sight.unobserve(target);
      mountCard(target);
    }
  }, { rootMargin: "200px" });
  document.querySelectorAll(".card[data-place]").forEach((card) => sight.observe(card));
  document.querySelectorAll("[data-latency]").forEach((box) => {
    const edges = [0, ...PAGE.latency.bars.map((bar) => bar.to)];
    const counts = PAGE.latency.bars.map((bar) => bar.calls);
    const figure = (s) => (s === null ? "more" : s < 1 ? `${Math.round(s * 1000)} ms` : `${Number(s.toPrecision(2))} s`);
    histogram(box, { edges, counts }, { unit: "calls", figure, tick: figure });
  });
}

function mountCard(card) {
  const column = columns.get(card.dataset.place);
  const { histogram: facts } = column.facts;
  const made = { card, column, chart: null };
  const pick = (first, last) => showRows(binFilter(column, first, last));
  const box = card.querySelector("[data-chart]");
  if (box) {
    const unit = column.kind === "text" ? "texts" : column.kind === "long list" ? "lists" : "values";
    made.chart = histogram(box, facts, { unit, pick });
  }
  card.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.label !== undefined) showRows({ place: column.place, op: "is", label: button.dataset.label });
    else if (button.dataset.bin !== undefined) pick(Number(button.dataset.bin), Number(button.dataset.bin));
    else if (button.dataset.nulls !== undefined) showRows({ place: column.place, op: "null" });
    else if (button.dataset.more !== undefined) {
      card.classList.add("all-labels");
      button.remove();
    }
  });
  cards.push(made);
  describeShown(made);
}

/** The filter that lets some bins of a histogram pass, the last of them included. */
function binFilter(column, first, last) {
  const { edges, counts, open, single } = column.facts.histogram;
  const isLast = last === counts.length - 1;
  if (isLast && open) return { place: column.place, op: "between", low: edges[first], high: null, closed: true };
  if (single) return { place: column.place, op: "between", low: edges[first], high: edges[last], closed: true };
  return { place: column.place, op: "between", low: edges[first], high: edges[last + 1], closed: isLast };
}

/** Draw how many of a card's values are in the rows that are shown. */
function describeShown({ card, column, chart }) {
  const counts = isFiltered() && (chart || column.labels) ? column.counted(state.shown) : null;
  chart?.show(counts);
  card.querySelectorAll(".bar[data-label]").forEach((bar) => {
    const shown = counts ? counts[column.labels.indexOf(bar.dataset.label)] : 0;
    const most = column.facts.labels[0].count;
    bar.querySelector(".shown").setAttribute("width", `${(100 * shown) / most}%`);
    bar.classList.toggle("is-filtered", Boolean(counts));
  });
}

function drawShownNote() {
  const note = byId("shown-note");
  if (!note) return;
  note.hidden = !isFiltered();
  if (note.hidden) return;
  const clear = el("button", { type: "button", class: "link", text: "Clear filters", onclick: clearFilters });
  const see = el("a", { href: addressOf("rows"), text: "See them" });
  note.replaceChildren(
    el("span", { class: "dot", "aria-hidden": "true" }),
    `In color: the ${several(state.shown.length, "row")} that match your filters. `, see, " · ", clear,
  );
}

/** What says how many it shows, shows as many: filters that were there before are gone. */
function mountWays() {
  const show = (filter) => {
    [state.where, state.query] = [[], ""];
    showRows(filter);
  };
  document.addEventListener("click", (event) => {
    const { failure, disagree, copy: from, clear, where } = event.target.closest("button")?.dataset ?? {};
    if (failure !== undefined) show({ place: "measures/failure", op: "is", label: failure });
    if (disagree !== undefined) show({ place: `agreement/${disagree}`, op: "between", low: null, high: 1, closed: false });
    if (from !== undefined) copy(byId(from).textContent, event.target.closest("button"));
    if (clear !== undefined) clearFilters();
    if (where !== undefined) show(JSON.parse(where));
  });
}

/** Bring the overview up to date; what nobody sees is left until somebody does. */
function drawOverview() {
  if (byId("overview").hidden) return;
  drawShownNote();
  cards.forEach(describeShown);
}

listeners.push(drawOverview);
