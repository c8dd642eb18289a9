// Ask the server, and keep settings.

const FACTS = JSON.parse(document.getElementById("facts").textContent);

/** A duration in a few words. */
function duration(seconds) {
  if (seconds < 60) return `${seconds < 10 ? Math.max(0.1, seconds).toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

class Refusal extends Error {
  constructor(status, body) {
    super(body?.error ?? `The server answered with ${status}.`);
    this.status = status;
    this.state = body?.state;
  }
}

/** Ask the server; a refusal is thrown as `Refusal`, a server that is gone as `TypeError`. */
async function ask(path, body) {
  const options = { headers: { "X-Distask-Session": FACTS.secret }, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  const isJson = (response.headers.get("Content-Type") ?? "").startsWith("application/json");
  const answer = isJson ? await response.json() : null;
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

/** A setting that this browser keeps; it may have no storage. */
const settings = {
  get(name) {
    try {
      return localStorage.getItem(`distask-label-${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`distask-label-${name}`, value);
    } catch {
      // it holds until the page is closed
    }
  },
};
