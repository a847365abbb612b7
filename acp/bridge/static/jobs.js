// Cards in, the list of jobs out: one link each, so that keyboard, history and bookmarks work by themselves.

import { el, plain, write } from "./dom.js";
import { percent, when } from "./format.js";
import { ENDED, stateName } from "./job.js";

/** The job that the address names, `undefined` where it names another place. */
export const namedJob = () => location.hash.match(/^#job=([\w-]+)$/)?.[1];

export const newestFirst = (cards) => [...cards].sort((one, other) => (one.job.accepted_at < other.job.accepted_at ? 1 : -1));

function row() {
  const parts = {
    name: el("b", {}),
    state: el("span", { class: "state" }),
    about: el("span", { class: "quiet" }),
    age: el("span", { class: "quiet age" }),
  };
  const link = el("a", {}, parts.name, parts.state, parts.about, parts.age);
  return Object.assign(el("li", {}, link), { parts, link });
}

function fill(item, card, chosen) {
  const { job, cmd, state, status, accepted_at: accepted } = card.job;
  item.link.href = `#job=${job}`;
  if (chosen) item.link.setAttribute("aria-current", "true");
  else item.link.removeAttribute("aria-current");
  write(item.parts.name, plain(cmd, 60));
  write(item.parts.state, stateName(card));
  item.parts.state.className = `state ${state}`;
  const share = !ENDED.has(state) && status?.progress !== undefined ? percent(status.progress) : "";
  write(item.parts.about, [status?.phase, share, plain(status?.optimization, 60)].filter(Boolean).join(" · "));
  item.parts.age.replaceChildren(when(accepted));
}

const rows = new Map();

/** Show `cards`, newest first, and mark the chosen one; a row that stays keeps its element and the focus in it. */
export function showJobs(list, cards, chosen) {
  const ordered = newestFirst(cards);
  const kept = new Set(ordered.map((card) => card.job.job));
  for (const [job, item] of rows) {
    if (!kept.has(job)) {
      item.remove();
      rows.delete(job);
    }
  }
  ordered.forEach((card, at) => {
    const { job } = card.job;
    if (!rows.has(job)) rows.set(job, row());
    const item = rows.get(job);
    fill(item, card, job === chosen);
    if (list.children[at] !== item) list.insertBefore(item, list.children[at] ?? null);
  });
}
