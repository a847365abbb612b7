// The agent's HTTP bridge: requests with the token, and the stream of boards, resumed where it broke off.

const TOKEN = "inferwright-token";
const SILENT_MS = 20_000; // the agent speaks every five seconds
const LONGEST_WAIT_MS = 15_000;

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN, value),
};

/** What went wrong, in the agent's own sentence. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function ask(path, { method = "GET", headers = {}, signal } = {}) {
  const known = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  const response = await fetch(path, { method, headers: { ...known, ...headers }, signal, cache: "no-store" });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refused(response.status, problem.detail ?? `The agent answered ${response.status}.`);
}

/** Server-sent events of a response, one after the other. */
async function* events(response, heard) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) yield Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
  }
}

/**
 * Hand every board to `board`, for ever; tell `link` how it stands: `live`, `away` with the seconds until the next
 * try and why, or `locked` where a token is asked for, which ends it until `watch` is called again.
 */
export async function watch(board, link) {
  let last = "";
  let wait = 1000;
  for (;;) {
    const stop = new AbortController();
    let silence = setTimeout(() => stop.abort(), SILENT_MS);
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => stop.abort(), SILENT_MS);
    };
    let why = "The agent does not answer.";
    try {
      const response = await ask("/live", { headers: last ? { "Last-Event-ID": last } : {}, signal: stop.signal });
      for await (const event of events(response, heard)) {
        board(JSON.parse(event.data), last === "");
        last = event.id;
        wait = 1000;
        link("live");
      }
      why = "The agent ended the connection.";
    } catch (error) {
      if (error.status === 401) return link("locked", 0, token.get() ? "That is not the agent's token." : "");
      if (error instanceof Refused) why = error.message;
    } finally {
      clearTimeout(silence);
    }
    link("away", wait, why);
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
}
