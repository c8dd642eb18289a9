// What rows are filtered and sorted by: the leaves of each column, row after row, in arrays.

/** One column, or what counts as one: a measure of each reply, the agreement on a column, the row's number. */
class Column {
  /**
   * `place` names it ("columns/3"), `index` is what the page holds of it: `each` (leaves of a row; one number where all
   * have the same), `values`, and `labels` where the values are places in them.
   */
  constructor(place, facts, index, rows) {
    this.place = place;
    this.facts = facts;
    this.name = facts.name;
    this.title = facts.title ?? facts.name;
    this.kind = facts.kind;
    this.role = facts.role ?? "measure";
    this.labels = index.labels ?? null;
    this.values = new Float64Array(index.values.length);
    index.values.forEach((value, i) => (this.values[i] = value === null ? NaN : value));
    this.starts = new Uint32Array(rows + 1);
    for (let row = 0; row < rows; row++) {
      this.starts[row + 1] = this.starts[row] + (typeof index.each === "number" ? index.each : index.each[row]);
    }
  }

  get measuresLength() {
    return this.kind === "text" || this.kind === "long list";
  }

  /** Whether any leaf of a row passes. */
  some(row, test) {
    for (let i = this.starts[row]; i < this.starts[row + 1]; i++) if (test(this.values[i])) return true;
    return false;
  }

  /** A number to sort each row by: the mean of its numbers, a label's rank. NaN, where there is none, comes last. */
  get keys() {
    if (this.madeKeys) return this.madeKeys;
    const ranks = this.labels && rankOf(this.labels);
    const keys = new Float64Array(this.starts.length - 1);
    for (let row = 0; row < keys.length; row++) {
      let sum = 0;
      let seen = 0;
      for (let i = this.starts[row]; i < this.starts[row + 1]; i++) {
        const value = this.values[i];
        if (Number.isNaN(value)) continue;
        sum += ranks ? ranks[value] : value;
        seen += 1;
      }
      keys[row] = seen ? sum / seen : NaN;
    }
    return (this.madeKeys = keys);
  }

  /** How many leaves of some rows each bin, or each label, holds. */
  counted(rows) {
    const histogram = this.facts.histogram;
    const counts = new Array(histogram ? histogram.counts.length : this.labels.length).fill(0);
    for (const row of rows) {
      for (let i = this.starts[row]; i < this.starts[row + 1]; i++) {
        const value = this.values[i];
        if (!Number.isNaN(value)) counts[histogram ? binOf(histogram.edges, value) : value] += 1;
      }
    }
    return counts;
  }
}

/** The bin that a number is in: its lower bound belongs to it, the last one holds its upper bound too. */
function binOf(edges, value) {
  let low = 0;
  let high = edges.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (edges[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

function rankOf(labels) {
  const ranks = new Float64Array(labels.length);
  [...labels.keys()].sort((a, b) => (labels[a] < labels[b] ? -1 : 1)).forEach((label, rank) => (ranks[label] = rank));
  return ranks;
}

/** All that the page knows of its rows, by place. */
function columnsOf(index, rows) {
  const made = new Map();
  const add = (place, facts, of) => made.set(place, new Column(place, facts, of, rows));
  PAGE.columns.forEach((facts, i) => add(`columns/${i}`, facts, index.columns[i]));
  for (const [name, facts] of Object.entries(PAGE.measures ?? {})) add(`measures/${name}`, facts, index.measures[name]);
  for (const [name, shares] of Object.entries(index.agreement ?? {})) {
    const facts = { name, title: `Agreement on ${name}`, kind: "number" };
    add(`agreement/${name}`, facts, { each: 1, values: shares });
  }
  return made;
}
