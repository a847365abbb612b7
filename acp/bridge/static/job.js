// One job in, its panel out: phases, figures with their units, how they moved, every update.

import { chart } from "./charts.js";
import { el, find, plain, write } from "./dom.js";
import { evidence, ms, number, percent, rps, signed, span, usd, when, words } from "./format.js";

const PHASES = ["baseline", "optimization", "validation", "deployment"];
export const ENDED = new Set(["completed", "not_met", "failed", "cancelled"]);
const FIGURES = [
  ["Latency p95", "latency_p95", ms],
  ["Latency p50", "latency_p50", ms],
  ["Latency p99", "latency_p99", ms],
  ["Time to first token p95", "ttft_p95", ms],
  ["Throughput", "throughput_rps", rps],
  ["Output", "output_tokens_s", (value) => `${number(value)} tokens/s`],
  ["CPU in use", "cpu_util", percent],
  ["GPU in use", "gpu_util", percent],
];

/** A state as a person reads it. */
export const stateName = (card) => {
  const { state } = card.job;
  if (card.ending && !ENDED.has(state)) return "cancelling";
  return state === "accepted" ? "waiting" : words(state);
};

/** The last status that holds `key`. */
const lastWith = (updates, card, key) =>
  [card.job.status, ...updates.map(({ update }) => update.inference_status).reverse()].find((status) => status?.[key]);

function phases(card, updates) {
  const seen = new Set(updates.map(({ update }) => update.inference_status.phase));
  const last = card.job.status?.phase ?? updates.findLast(({ update }) => update.inference_status.phase)?.update.inference_status.phase;
  seen.add(last);
  const ended = ENDED.has(card.job.state);
  const broken = card.job.state === "failed" || card.job.state === "cancelled";
  return PHASES.map((phase) => {
    const here = phase === last;
    const how = here && !ended ? "now" : here && broken ? words(card.job.state) : seen.has(phase) ? "done" : ended ? "not part" : "to come";
    const kind = here && !ended ? "now" : here && broken ? "broken" : seen.has(phase) ? "done" : "";
    return el("li", { class: kind, "aria-current": how === "now" && "step" }, el("b", {}, phase), el("span", {}, how));
  });
}

const tile = (name, value, label, note) =>
  el("div", {}, el("dt", {}, name), el("dd", {}, el("strong", {}, value), " ", label), note ? el("dd", { class: "quiet" }, note) : null);

function figures(card, updates) {
  const measured = lastWith(updates, card, "metrics");
  const judged = lastWith(updates, card, "quality");
  const priced = lastWith(updates, card, "cost_per_1k");
  const tiles = [];
  for (const [name, key, text] of measured ? FIGURES : []) {
    const value = measured.metrics[key];
    if (value !== undefined) tiles.push(tile(name, text(value), evidence("measured")));
  }
  if (judged) {
    const { perplexity_delta: loss, perplexity_delta_high: most, kl, gate } = judged.quality;
    tiles.push(tile("Perplexity against baseline", signed(loss), evidence("measured"), `at most ${signed(most)}; gate: ${plain(gate)}`));
    tiles.push(tile("KL divergence", `${number(kl)} nats/token`, evidence("measured")));
  }
  if (priced) tiles.push(tile("Cost", `${usd(priced.cost_per_1k)} per 1,000 requests`, "", "from the price of the plan and the measured rate"));
  if (!tiles.length) return [];
  const of = measured ?? judged ?? priced;
  return [el("h3", {}, `Figures of ${plain(of.optimization, 120)}`), el("dl", { class: "tiles" }, ...tiles)];
}

/** Each figure over the time of the job, a line for each strategy that was measured. */
function charts(updates) {
  const measured = updates.filter(({ update }) => update.inference_status.metrics);
  if (measured.length < 2) return [];
  const start = Date.parse(updates[0].at);
  const drawn = [
    ["Latency p95, ms", "latency_p95", ms],
    ["Throughput, requests/s", "throughput_rps", rps],
  ];
  return drawn.flatMap(([name, key, text]) => {
    const groups = new Map();
    for (const { at, update } of measured) {
      const { metrics, optimization } = update.inference_status;
      if (metrics[key] === undefined) continue;
      if (!groups.has(optimization)) groups.set(optimization, []);
      const x = (Date.parse(at) - start) / 1000;
      groups.get(optimization).push({ x, y: metrics[key], text: `${text(metrics[key])} measured after ${span(x)}` });
    }
    const series = [...groups].map(([label, points], at) => ({
      name: plain(label, 60),
      kind: `series series-${at % 4}`,
      shape: at % 4,
      line: true,
      points,
    }));
    return series.length ? [chart({ x: "time in the job", y: `${name}, measured`, tickX: span }, series, { timed: true })] : [];
  });
}

function updateRow({ at, seq, update }) {
  const { phase, optimization, detail, state, error } = update.inference_status;
  const line = plain(detail) || (state === "running" ? "" : words(state));
  return el(
    "li",
    { "data-seq": seq },
    when(at),
    el("span", { class: "phase" }, phase ?? words(state)),
    el("span", { class: "what" }, el("b", {}, plain(optimization, 120)), line ? ` ${line}` : "", error ? el("em", {}, ` ${plain(error)}`) : null),
  );
}

/** Put what is new on top; everything where another job is shown. */
function listUpdates(list, job, updates) {
  if (list.dataset.job !== job) {
    list.dataset.job = job;
    list.replaceChildren();
    list.scrollTop = 0;
  }
  const shown = Number(list.firstElementChild?.dataset.seq ?? 0);
  for (const timed of updates) if (timed.seq > shown) list.prepend(updateRow(timed));
}

/** Show `card` with its `updates`, which are in order. */
export function showJob(card, updates) {
  const { job, cmd, state, status, accepted_at: accepted, attempts } = card.job;
  write(find("job-title"), plain(cmd, 80));
  write(find("job-state"), stateName(card));
  find("job-state").className = `state ${state}`;
  const parts = [el("code", {}, job), " accepted ", when(accepted), ", changed ", when(card.changed_at)];
  find("job-about").replaceChildren(...parts, attempts > 1 ? `, attempt ${attempts}` : "");
  find("job-phases").replaceChildren(...phases(card, updates));
  const progress = find("job-progress");
  progress.hidden = ENDED.has(state);
  if (status?.progress === undefined) progress.removeAttribute("value");
  else progress.value = status.progress;
  write(find("job-detail"), plain(status?.error ? `${status.error}: ${status.detail}` : status?.detail) || (state === "accepted" ? "It starts when the jobs before it have ended." : ""));
  find("job-detail").classList.toggle("bad", state === "failed");
  find("job-figures").replaceChildren(...figures(card, updates));
  find("job-charts").replaceChildren(...charts(updates));
  find("job-report").hidden = !ENDED.has(state);
  find("job-cancel").hidden = ENDED.has(state);
  find("job-cancel").disabled = card.ending;
  find("job-updates-title").hidden = !updates.length;
  find("job-updates").hidden = !updates.length;
  listUpdates(find("job-updates"), job, updates);
}
