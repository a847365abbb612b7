// Boards in, the page out: keeps what was told, shows the chosen job, asks for what a person wants.

import { ask, token, watch } from "./agent.js";
import { showDeployments } from "./deployments.js";
import { find, plain, write } from "./dom.js";
import { refreshTimes, setClock } from "./format.js";
import { ENDED, showJob, stateName } from "./job.js";
import { namedJob, newestFirst, showJobs } from "./jobs.js";
import { showPlan } from "./plan.js";

const cards = new Map();
const updates = new Map();
const UPDATES = 500; // of one job
const PLANNED = "OPTIMIZE_INFERENCE";
const planless = new Set(); // ended jobs that were asked and left none
let said = "";
let planned = "";
let chosen = namedJob();

const shown = () => cards.get(chosen) ?? newestFirst(cards.values())[0];

function render() {
  const card = shown();
  find("empty").hidden = cards.size > 0;
  find("board").hidden = !card;
  if (!card) return;
  showJobs(find("jobs"), cards.values(), card.job.job);
  showJob(card, updates.get(card.job.job) ?? []);
  const running = [...cards.values()].filter(({ job }) => job.state === "running").length;
  document.title = running ? `${running} running · inferwright` : "inferwright";
  const phase = card.job.status?.phase ?? "";
  tell(`${card.job.cmd}: ${stateName(card)}${phase && !ENDED.has(card.job.state) ? `, ${phase}` : ""}`);
}

/** Say a change of state or phase aloud, once. */
function tell(sentence) {
  if (sentence === said) return;
  said = sentence;
  write(find("told"), sentence);
}

function take(board, first) {
  if (first) {
    cards.clear();
    updates.clear();
  }
  setClock(board.at);
  write(find("agent"), board.agent);
  write(find("empty-command"), `inferwright send examples/smollm2.json --nats ${board.nats}`);
  for (const card of board.jobs) cards.set(card.job.job, card);
  for (const timed of board.updates) {
    const known = updates.get(timed.job) ?? [];
    if (timed.seq > (known.at(-1)?.seq ?? 0)) known.push(timed);
    updates.set(timed.job, known.slice(-UPDATES));
  }
  if (first || board.jobs.length || board.updates.length) render();
  if (board.deployments) showDeployments(board.deployments, Date.parse(board.at));
  if (board.jobs.length) findPlan();
  connection(board.ready ? "live" : "away", board.ready ? "live" : "the agent has lost its broker", "");
}

/** Show the plan of the newest job that left one. */
async function findPlan() {
  for (const { job } of newestFirst(cards.values())) {
    if (job.cmd !== PLANNED || !ENDED.has(job.state) || planless.has(job.job)) continue;
    if (job.job === planned) return;
    try {
      const plan = await (await ask(`/jobs/${encodeURIComponent(job.job)}/plan`)).json();
      showPlan(plan, job.job);
      planned = job.job;
      return;
    } catch (error) {
      if (error.status !== 404) return;
      planless.add(job.job);
    }
  }
}

function connection(state, text, why) {
  const line = find("link");
  line.className = state;
  write(line, text);
  write(find("trouble"), why);
  find("trouble").hidden = !why;
  document.body.classList.toggle("stale", state === "away");
}

function link(state, wait, why) {
  if (state === "live") return; // the board itself said so
  if (state === "away") return connection("away", "away", `${plain(why)} Trying again in ${Math.round(wait / 1000)} s.`);
  connection("locked", "locked", why);
  find("token").hidden = false;
  find("board").hidden = find("empty").hidden = find("plan").hidden = find("deployments").hidden = true;
  find("token-value").value = "";
  find("token-value").focus();
}

const start = () => watch(take, link);

find("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(find("token-value").value);
  find("token").hidden = true;
  connection("", "connecting", "");
  start();
});

find("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(find("empty-command").textContent);
  write(find("copy"), "Copied");
});

find("job-cancel").addEventListener("click", () => {
  const { job } = shown();
  find("cancel").dataset.job = job.job;
  write(find("cancel-about"), `${plain(job.cmd, 80)} (${job.job})`);
  find("cancel").returnValue = "no";
  find("cancel").showModal();
});

find("cancel").addEventListener("close", async () => {
  if (find("cancel").returnValue !== "yes") return;
  try {
    await ask(`/jobs/${encodeURIComponent(find("cancel").dataset.job)}`, { method: "DELETE" });
  } catch (error) {
    complain(error);
  }
});

find("job-report").addEventListener("click", async () => {
  const { job } = shown();
  try {
    const response = await ask(`/jobs/${encodeURIComponent(job.job)}/report`, { headers: { Accept: "text/markdown" } });
    write(find("report-text"), await response.text());
    write(find("report-title"), `Report of ${job.job}`);
    find("report").showModal();
    find("report-text").scrollTop = 0;
  } catch (error) {
    complain(error);
  }
});

/** One sentence about what was refused; it goes with the next thing that works. */
function complain(error) {
  write(find("trouble"), plain(error.message));
  find("trouble").hidden = false;
}

const THEMES = ["system", "dark", "light"];

function theme(name) {
  document.documentElement.dataset.theme = name;
  write(find("theme"), `Theme: ${name}`);
}

find("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem("inferwright-theme", next);
  theme(next);
});

const kept = localStorage.getItem("inferwright-theme");
theme(THEMES.includes(kept) ? kept : "system");
addEventListener("hashchange", () => {
  if (!namedJob()) return;
  chosen = namedJob();
  render();
  find("job-title").focus({ preventScroll: true });
});
setInterval(() => refreshTimes(), 5000);
start();
