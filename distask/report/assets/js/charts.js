// Histograms, drawn by uPlot: all values in grey, those of the rows that are shown in colour; drag or click to filter.

const charts = [];
const CHART_HEIGHT = 132;

/**
 * Draw a histogram into an element.
 *
 * `edges` and `counts` as the facts have them; `unit` is a word for what is counted. `pick(first, last)` is called with
 * the bins that were clicked or dragged over. Gives the chart: `show(counts)` draws what is shown, null for all.
 */
function histogram(box, { edges, counts, open = false, single = false }, { unit = "values", figure = number, tick = short, pick = null } = {}) {
  const bins = counts.length;
  const places = counts.map((_, i) => i);
  const tip = el("div", { class: "tip", hidden: true });
  const words = (bin) => {
    if (open && bin === bins - 1) return `${figure(edges[bin])} and more`;
    return single ? figure(edges[bin]) : `${figure(edges[bin])} to ${figure(edges[bin + 1])}`;
  };
  let shown = null;

  const announceValue = (plot) => {
    const bin = plot.cursor.idx;
    tip.hidden = bin === null || bin === undefined || plot.cursor.left < 0;
    if (tip.hidden) return;
    const part = shown ? ` · ${count(shown[bin])} shown` : "";
    tip.textContent = `${words(bin)}: ${count(counts[bin])} ${unit}${part}`;
    tip.style.left = `${Math.min(Math.max(plot.valToPos(bin, "x") - tip.offsetWidth / 2, 0), box.clientWidth - tip.offsetWidth)}px`;
  };
  const picked = (plot) => {
    const { left, width } = plot.select;
    if (!pick || width < 3) return;
    const bin = (x) => Math.min(bins - 1, Math.max(0, Math.round(plot.posToVal(x, "x"))));
    pick(bin(left), bin(left + width));
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  };

  const bars = uPlot.paths.bars({ size: [1, Infinity], gap: 1, radius: bins < 12 ? 0.04 : 0.12 });
  const series = (fill, width) => ({ paths: bars, points: { show: false }, width, fill: () => colour(fill) });
  const axis = {
    stroke: () => colour("muted"),
    font: "11px system-ui, sans-serif",
    ticks: { show: false },
    grid: { show: false },
  };
  const plot = new uPlot(
    {
      width: Math.max(120, box.clientWidth),
      height: CHART_HEIGHT,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: Boolean(pick), y: false, setScale: false } },
      scales: { x: { time: false, range: [-0.5, bins - 0.5] }, y: { range: (_, __, most) => [0, most || 1] } },
      axes: [
        {
          ...axis,
          size: 22,
          gap: 4,
          splits: () => labelled(bins, single),
          values: (_, splits) => splits.map((at) => tick(edges[single ? at : Math.round(at + 0.5)])),
        },
        { ...axis, size: 40, gap: 4, grid: { show: true, stroke: () => colour("hairline"), width: 1 }, space: 34, values: (_, splits) => splits.map((at) => (Number.isInteger(at) ? short(at) : "")) },
      ],
      series: [{}, series("bar", 0), series("accent", 0)],
      hooks: { setCursor: [announceValue], setSelect: [picked] },
    },
    [places, counts, counts.map(() => null)],
    box,
  );
  box.append(tip);
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `Histogram of ${count(counts.reduce((a, b) => a + b, 0))} ${unit}, from ${figure(edges[0])} to ${figure(edges[bins])}; the numbers are in the table below.`);
  if (pick) {
    let from = 0;
    plot.over.addEventListener("mousedown", (event) => (from = event.clientX));
    plot.over.addEventListener("click", (event) => {
      if (Math.abs(event.clientX - from) < 3 && plot.cursor.idx !== null) pick(plot.cursor.idx, plot.cursor.idx);
    });
    plot.over.classList.add("picks");
  }
  const chart = {
    box,
    show: (part) => {
      shown = part;
      plot.setData([places, counts, part ?? counts.map(() => null)]);
    },
    redraw: () => plot.redraw(false, true),
    resize: () => box.clientWidth && plot.setSize({ width: box.clientWidth, height: CHART_HEIGHT }),
  };
  charts.push(chart);
  new ResizeObserver(() => chart.resize()).observe(box);
  return chart;
}

/** Which bins, or bounds between them, have their number below the axis: about six. */
function labelled(bins, single) {
  const every = Math.max(1, Math.ceil(bins / 6));
  const made = [];
  for (let at = 0; at <= (single ? bins - 1 : bins); at += every) made.push(single ? at : at - 0.5);
  return made;
}
