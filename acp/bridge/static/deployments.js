// Deployments in, a card each out: who serves which share, how fast now, and how the last change was judged.

import { chart } from "./charts.js";
import { el, find, plain } from "./dom.js";
import { counted, evidence, ms, number, percent, rps, signed, span, strategyName, words } from "./format.js";
import { burning, cached, costs, quality } from "./watched.js";

const LOOKS = 300;
/** What each deployment showed since this page was opened: `{at, release, rate, p95}`. */
const seen = new Map();

const named = (release) => `v${release.number}`;
const fullName = (release) => `${named(release)} (${strategyName(release.strategy)})`;
const serviceOf = (report, release) =>
  report.services.find(({ release: name }) => [fullName(release), named(release), release.slot].includes(name));

function share({ deployment }, release) {
  const { stable, share: tried } = deployment.route;
  return release.slot === stable ? 1 - tried : tried;
}

const amount = (estimate, text) => el("span", {}, `${text(estimate.value)} `, evidence(estimate.evidence));

const facts = (...items) => el("span", { class: "facts" }, ...items.filter(Boolean).map((item) => el("span", {}, ...item)));

function now(report, release) {
  const service = serviceOf(report, release);
  const own = new Set(release.replicas.map(({ name }) => name));
  const up = report.replicas.filter(({ name, state }) => own.has(name) && state.startsWith("UP"));
  const gate = release.gate?.quality;
  return facts(
    service && report.window_s && [`${rps(service.requests / report.window_s)} `, evidence("measured")],
    service?.latency && ["p95 ", amount(service.latency.p95, ms)],
    service && [`${service.failed} of ${counted(service.requests, "request")} failed in the last ${span(report.window_s)}`],
    burning(report, fullName(release)),
    gate ? [`perplexity ${signed(gate.loss)}, at most ${signed(gate.loss_high)} `, evidence("measured")] : [release.weights === release.reference ? "the untouched model" : "no gate was held"],
    [`${up.length} of ${counted(release.replicas.length, "replica")} up`],
  );
}

/** The share of each release as a bar, and what it does with it. */
function weights(report) {
  const items = report.deployment.releases.map((release, at) => {
    const part = share(report, release);
    const bar = el("span", { class: `bar series-${at % 4}`, "aria-hidden": "true" }, el("span", {}));
    bar.firstElementChild.style.inlineSize = `${part * 100}%`;
    const percentage = el("b", {}, percent(part, part && part < 0.1 ? 1 : 0));
    return el("li", {}, el("span", { class: "what" }, fullName(release)), bar, percentage, now(report, release));
  });
  return el("ul", { class: "weights", "aria-label": "Releases and their shares of the requests" }, ...items);
}

function remember(report, at) {
  const { name, releases: running } = report.deployment;
  if (!seen.has(name)) seen.set(name, []);
  const looks = seen.get(name);
  for (const release of running) {
    const service = serviceOf(report, release);
    if (!service?.latency || !report.window_s) continue;
    looks.push({ at, release: named(release), rate: service.requests / report.window_s, p95: service.latency.p95.value });
  }
  looks.splice(0, Math.max(0, looks.length - LOOKS));
  return looks;
}

function charts(looks) {
  const latest = looks.at(-1)?.at;
  if (looks.every(({ at }) => at === latest)) return null;
  const names = [...new Set(looks.map(({ release }) => release))];
  const drawn = [
    ["Latency p95, ms", "p95", ms],
    ["Throughput, requests/s", "rate", rps],
  ].map(([name, key, text]) => {
    const groups = names.map((release, at) => ({
      name: release,
      kind: `series series-${at % 4}`,
      shape: at % 4,
      line: true,
      points: looks
        .filter((look) => look.release === release)
        .map((look) => ({ x: (look.at - latest) / 1000, y: look[key], text: `${release}: ${text(look[key])} measured ${span((latest - look.at) / 1000)} ago` })),
    }));
    return chart({ x: "seconds from now", y: `${name}, measured at the gateway` }, groups, { timed: true });
  });
  return el("div", { class: "charts" }, ...drawn);
}

function judgement({ metric, verdict, measured, limit, samples, sentence }) {
  const text = measured.unit === "ms" ? ms : (value) => percent(value, 2);
  const kind = verdict === "passed" ? "completed" : verdict;
  const figures = facts([amount(measured, text)], [`limit ${text(limit)}`], [counted(samples, "sample")]);
  const head = [el("b", {}, words(metric)), " ", el("span", { class: `state ${kind}` }, verdict)];
  return el("li", {}, ...head, ` ${plain(sentence)}`, figures);
}

function lastChange({ last }) {
  if (!last) return null;
  const judged = last.steps.at(-1)?.judgements ?? [];
  const took = `${counted(last.steps.length, "step")} in ${span(last.seconds)}; ${last.failed} of ${last.requests} requests failed`;
  const back = last.back_s === undefined ? "" : `; the old release had every request ${span(last.back_s)} after the verdict`;
  return el(
    "div",
    { class: "last" },
    el("h4", {}, `Last change: ${words(last.end)}`),
    el("p", {}, plain(last.sentence)),
    el("p", { class: "quiet" }, took + back),
    judged.length ? el("ul", { class: "judged", "aria-label": "Verdicts of its last step" }, ...judged.map(judgement)) : null,
  );
}

function card(report, at) {
  const { deployment } = report;
  const kind = { live: "completed", down: "failed" }[deployment.state] ?? "running";
  return el(
    "article",
    { class: "deployment" },
    el("div", { class: "head" }, el("h3", {}, plain(deployment.name)), el("span", { class: `state ${kind}` }, words(deployment.state))),
    el("p", { class: "quiet" }, `${plain(deployment.model, 80)} at 127.0.0.1:${deployment.port}; ${counted(report.queued, "request")} queued`),
    el("p", {}, plain(report.sentence)),
    weights(report),
    charts(remember(report, at)),
    cached(report),
    quality(report),
    costs(report),
    lastChange(deployment),
  );
}

/** Show every deployment as it was at `at` (milliseconds). */
export function showDeployments(reports, at) {
  find("deployments").hidden = !reports.length;
  find("deployments-list").replaceChildren(...reports.map((report) => card(report, at)));
}
