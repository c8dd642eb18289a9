// The rows: blocks of JSON lines, each unpacked when it is looked at, the last ones kept.

const BLOCKS_KEPT = 96;
const BLOCKS_AT_ONCE = 6;

/** The bytes that letters stand for. */
function bytesIn(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** The text that was packed into an element. */
async function unpacked(id) {
  const stream = new Blob([bytesIn(byId(id).textContent)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

/** A number that JSON holds and JavaScript does not, as it is written. */
class Exact {
  constructor(source) {
    this.source = source;
  }
}

/** A string of JSON, or a number. */
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d[\d.]*(?:[eE][-+]?\d+)?/g;
/** Begins a string that stands for a number while a line is parsed; it is drawn, so that no row can hold it. */
const NUMBER = `number ${Math.random()} `;

/** The value of a line of JSON. Numbers that JavaScript would round, or write in another way, are `Exact`. */
function exactly(line) {
  const quoted = line.replace(STRING_OR_NUMBER, (text) => {
    return text[0] === '"' || String(Number(text)) === text ? text : `"${NUMBER}${text}"`;
  });
  return JSON.parse(quoted, (key, value) => {
    return typeof value === "string" && value.startsWith(NUMBER) ? new Exact(value.slice(NUMBER.length)) : value;
  });
}

/** The same where speed counts: only lines that hold long numbers are parsed with care. */
const parsed = (line) => (/[\d.]{16}/.test(line) ? exactly(line) : JSON.parse(line));

class Rows {
  /** `starts`: the place of each block's first row; `total`: rows that are on the page. */
  constructor(starts, total) {
    this.starts = starts;
    this.total = total;
    this.kept = new Map();
    this.coming = new Map();
  }

  blockOf(place) {
    let low = 0;
    let high = this.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= place) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The lines of a block. */
  block(which) {
    const kept = this.kept.get(which);
    if (kept) {
      this.kept.delete(which);
      this.kept.set(which, kept);
      return Promise.resolve(kept);
    }
    if (!this.coming.has(which)) {
      const coming = unpacked(`block-${which}`).then((text) => {
        const lines = text.split("\n");
        this.coming.delete(which);
        this.kept.set(which, lines);
        if (this.kept.size > BLOCKS_KEPT) this.kept.delete(this.kept.keys().next().value);
        return lines;
      });
      this.coming.set(which, coming);
    }
    return this.coming.get(which);
  }

  async line(place) {
    const which = this.blockOf(place);
    return (await this.block(which))[place - this.starts[which]];
  }

  /** A row, if its block is at hand; null where it has yet to be unpacked. */
  atHand(place) {
    const which = this.blockOf(place);
    const lines = this.kept.get(which);
    return lines ? parsed(lines[place - this.starts[which]]) : null;
  }

  /** A row with its numbers as they are written. */
  async row(place) {
    return exactly(await this.line(place));
  }

  /**
   * Call `look(line, place)` for each of some places, which are in order, but for those in blocks whose text can't hold
   * what is sought, as `may` says. It stops when `isCurrent` returns false, and calls `report` with the share done. Blocks that
   * are only scanned are not kept.
   */
  async scan(places, look, { isCurrent, report, may = () => true }) {
    const parts = new Map();
    for (const place of places) {
      const which = this.blockOf(place);
      const part = parts.get(which);
      if (part) part.push(place);
      else parts.set(which, [place]);
    }
    const queue = [...parts.keys()];
    const ahead = new Map();
    for (let done = 0; done < queue.length; done++) {
      for (const which of queue.slice(done, done + BLOCKS_AT_ONCE)) {
        if (!ahead.has(which)) ahead.set(which, unpacked(`block-${which}`));
      }
      const which = queue[done];
      const text = await ahead.get(which);
      ahead.delete(which);
      if (!isCurrent()) return;
      if (may(text)) {
        const lines = text.split("\n");
        for (const place of parts.get(which)) look(lines[place - this.starts[which]], place);
      }
      report((done + 1) / queue.length);
    }
  }
}
