// A plan in, its frontier out: latency over throughput of every strategy that none beats, and the same as a table.

import { chart } from "./charts.js";
import { el, find, plain, table, write } from "./dom.js";
import { evidence, ms, number, percent, rps, signed, strategyName, usd } from "./format.js";

const same = (one, other) => JSON.stringify(one.strategy) === JSON.stringify(other.strategy);

function point(candidate, [x, textX], [y, textY], mark, interval) {
  const [across, up] = [candidate.prediction[x], candidate.prediction[y]];
  const text = `${strategyName(candidate.strategy)}: ${textX(across.value)} (${across.evidence}), ${textY(up.value)} (${up.evidence})`;
  const bounds = interval ? { low: up.low, high: up.high } : {};
  return { x: across.value, y: up.value, text, mark, ...bounds };
}

/** The frontier over two of its quantities; nothing where a price is not known. */
function drawn(plan, names, x, y) {
  const known = (candidate) => candidate.prediction[x[0]] && candidate.prediction[y[0]];
  const rest = plan.frontier.filter((candidate) => known(candidate) && !plan.chosen.some((chosen) => same(chosen, candidate)));
  const chosen = plan.chosen.map((one, at) => known(one) && point(one, x, y, String(at + 1), true)).filter(Boolean);
  const groups = [
    { name: "on the frontier", kind: "frontier", shape: 0, points: rest.map((candidate) => point(candidate, x, y)) },
    { name: "chosen, in the order of trial, with its 90 % interval", kind: "chosen", shape: 3, points: chosen },
    { name: "the untouched model", kind: "baseline", shape: 1, points: known(plan.baseline) ? [point(plan.baseline, x, y)] : [] },
  ];
  return groups.some((group) => group.points.length) ? [chart(names, groups)] : [];
}

const estimate = (one, text) => (one ? el("span", {}, `${text(one.value)} `, evidence(one.evidence)) : "–");

function rows(plan) {
  const order = (candidate) => plan.chosen.findIndex((chosen) => same(chosen, candidate));
  const role = (candidate) => (order(candidate) >= 0 ? `chosen ${order(candidate) + 1}` : "frontier");
  const others = plan.frontier.filter((candidate) => order(candidate) < 0);
  const all = [...plan.chosen.map((one) => [one, role(one)]), ...others.map((one) => [one, "frontier"]), [plan.baseline, "untouched"]];
  return all.map(([candidate, name]) => {
    const { prediction, strategy, memory } = candidate;
    const held = memory.weights_gb + memory.kv_cache_gb + memory.activations_gb + memory.runtime_gb;
    return [
      strategyName(strategy),
      name,
      estimate(prediction.throughput_rps, number),
      estimate(prediction.latency_p95_ms, number),
      estimate(prediction.quality_loss, signed),
      estimate(prediction.cost_monthly_usd, usd),
      estimate(prediction.cost_per_1k_usd, usd),
      number(held),
    ];
  });
}

const COLUMNS = [
  ["Strategy"],
  ["Role"],
  ["Requests/s", true],
  ["Latency p95, ms", true],
  ["Quality loss", true],
  ["Cost a month", true],
  ["Per 1,000 requests", true],
  ["Memory, GB", true],
];

/** Show the plan that `job` left. */
export function showPlan(plan, job) {
  const { input_tokens: prompt, output_tokens: answer, request_rate: rate } = plan.workload;
  const load = `${prompt} tokens in, ${answer} out, ${rps(rate)}`;
  const about = `${plain(plan.model, 80)} on ${plain(plan.hardware, 120)}; ${load}; quality may fall by ${percent(plan.max_quality_loss, 1)}; ${plan.considered.toLocaleString("en-US")} candidates considered; `;
  find("plan-about").replaceChildren(about, el("code", {}, job));
  write(find("plan-verdict"), plain(plan.verdict));
  const speed = { x: "throughput, requests/s", y: "Latency p95, ms, predicted" };
  const worth = { x: "cost a month", y: "Rise of perplexity, predicted", tickX: usd, tickY: (value) => percent(value, 1) };
  find("plan-charts").replaceChildren(
    ...drawn(plan, speed, ["throughput_rps", rps], ["latency_p95_ms", ms]),
    ...drawn(plan, worth, ["cost_monthly_usd", usd], ["quality_loss", signed]),
  );
  find("plan-table").replaceChildren(table("Strategies of the plan, predicted", COLUMNS, rows(plan)));
  find("plan").hidden = false;
}
