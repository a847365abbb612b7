// A deployment's report in: how its error budget burns, what its quality did since the rollout, what each sender costs.

import { el, plain, table } from "./dom.js";
import { counted, evidence, number, percent, signed, span, usd, when, words } from "./format.js";

/** The burn rate of a release's error budget over each window: at 1, a month's is spent in a month. */
export function burning(report, name) {
  const told = (report.burns ?? []).filter(({ release, requests }) => release === name && requests);
  if (!told.length) return null;
  const rates = told.map(({ rate, window_s: window }) => `${number(rate)} in the last ${span(window)}`);
  const fast = told.some(({ rate }) => rate > 1);
  return [el("span", { class: fast && "bad" }, `burn rate of the ${percent(told[0].budget)} error budget ${rates.join(", ")} `), evidence("measured")];
}

/** What live prompts said of the release that serves, since its rollout. */
export function quality({ deployment, drift }) {
  if (!drift) return el("p", { class: "quiet" }, "Quality is not watched since the rollout.");
  const { decision, sampling, state, window, watch, limit } = drift;
  const stable = deployment.releases.find(({ slot }) => slot === deployment.route.stable);
  const here = decision && drift.release === stable?.number;
  const kind = { passed: "completed", failed: "failed", undecided: "undecided" }[here ? decision.verdict : ""];
  const loss = here && decision.quality;
  const share = `${percent(watch.share)} of the requests, window ${window}`;
  const seen = sampling ? `, ${sampling.used} of ${counted(sampling.seen, "sampled prompt")} used` : "";
  return el(
    "div",
    { class: "last" },
    el("h4", {}, "Quality since the rollout: ", el("span", { class: `state ${kind ?? "running"}` }, here ? decision.verdict : words(state))),
    loss && el("p", {}, `perplexity ${signed(loss.loss)} (${signed(loss.loss_low)} to ${signed(loss.loss_high)}), limit ${signed(limit)} `, evidence("measured"), " ", when(new Date(drift.judged_at_s * 1000).toISOString())),
    drift.sentence ? el("p", {}, plain(drift.sentence)) : null,
    el("p", { class: "quiet" }, `${words(state)}: ${share}${seen}; ${watch.rollback ? "a breach brings the release before back" : "a breach is told, and changes nothing"}`),
  );
}

/** How many answers the cache spared the engines; nothing where none is kept. */
export function cached({ deployment, cache }) {
  if (!deployment.cache || !cache) return null;
  const asked = cache.hit + cache.miss;
  const rate = asked ? `${percent(cache.hit / asked)} of ${counted(asked, "request")} without chance answered from it` : "nothing asked of it yet";
  return el("p", { class: "quiet" }, `Answers are kept at 127.0.0.1:${deployment.cache.port}: ${rate}; ${counted(cache.passed, "other request")} passed on `, evidence("measured"));
}

/** Deployments whose costs a person has opened: they stay open when the card is drawn again. */
const opened = new Set();

/** What the last hour cost, by release and sender. */
export function costs({ deployment: { name }, costs: told = [] }) {
  if (!told.length) return null;
  const priced = told.find(({ usd_per_1k: price }) => price);
  const rows = told.map(({ release, sender, requests, busy_s: busy, usd_per_1k: price }) => [
    plain(sender, 64) || "not named",
    plain(release, 80).split(" ")[0],
    price ? el("span", {}, `${usd(price.value)} `, evidence(price.evidence)) : "no price known",
    number(requests),
    `${number(busy)} s`,
  ]);
  const columns = [["Sender"], ["Release"], ["Per 1,000 requests", true], ["Requests", true], ["Slot time", true]];
  const about = priced ? "What the machine costs by the hour, shared out by the time that its slots worked for each sender." : "The job that made the release knew no price of this machine: name one in INFERWRIGHT_PRICE_FILE.";
  const details = el(
    "details",
    { open: opened.has(name) },
    el("summary", {}, `Cost by sender in the last hour (${counted(told.length, "row")})`),
    el("p", { class: "quiet" }, about),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Cost by sender" }, table("Cost by sender and release", columns, rows)),
  );
  details.addEventListener("toggle", () => (details.open ? opened.add(name) : opened.delete(name)));
  return details;
}
