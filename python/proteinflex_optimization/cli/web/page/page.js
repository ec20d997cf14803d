// Polls what the server has looked at, and shows it. Nothing is asked for while the page is hidden.

import { lineChart } from "./charts.js";
import { make, meter, setClass, setText, sync } from "./nodes.js";
import { showResources } from "./resources.js";
import { Runs } from "./runs.js";
import * as text from "./text.js";

const PAUSE = 1000;
const LONGEST_PAUSE = 10_000;
const RESOURCES_EVERY = 5; // Rounds.
const TIMEOUT = 15_000;
const STALE_SECONDS = 30;

// The token is in the cookie by now; the address may be shown to others.
history.replaceState(null, "", "/");

const find = (selector) => document.querySelector(selector);
const etags = new Map();
let [offset, age] = [0, 0]; // Of the server's clock, and of what it has looked at.

// Returns what the server has, or undefined where that is what it was.
async function ask(path) {
  const headers = etags.has(path) ? { "If-None-Match": etags.get(path) } : {};
  const options = { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) };
  const answer = await fetch(path, options);
  if (answer.status === 403) throw new Error("forbidden");
  offset = Date.parse(answer.headers.get("Date")) - Date.now();
  if (path === "/boards.json") age = Number(answer.headers.get("Age"));
  if (answer.status === 304 || answer.status === 404) return undefined;
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const body = await answer.json();
  etags.set(path, answer.headers.get("ETag")); // Only now: what has not come is asked for again.
  return body;
}

const now = () => (Date.now() + offset) / 1000;
const whole = meter();
const chart = lineChart("Done, of all runs", (value) => `${value.toFixed(0)} %`, 100);
const runs = new Runs(find("#runs"), (id) => {
  etags.delete(`/job.json?id=${id}`);
  showJob(id).catch(() => {}); // The next round says what is wrong.
});
find("#whole").replaceWith(whole.node);
find("#history").replaceWith(chart.node);
let state = null;

function showSummary() {
  const { boards, counts, percent } = state;
  const parts = Object.entries(counts).map(([name, count]) => ({ name, count }));
  const texts = parts.map(({ name, count }) => `${text.count(count)} ${name}`);
  setText(find("#headline"), text.counted(boards.length, "run"));
  // The same for screen readers, which say it when it changes: so the percentage is no part of it.
  setText(find("#summary"), `${text.counted(boards.length, "run")}: ${texts.join(", ") || "none yet"}`);
  sync(find("#counts"), parts, ({ name }) => name, ({ name }) => {
    const number = make("strong");
    const node = make("li", { className: name }, number, ` ${name}`);
    return { node, update: ({ count }) => setText(number, text.count(count)) };
  });
  find("#overview").hidden = !boards.length;
  whole.update(percent, percent === null ? "" : `${text.percent(percent)}${boards.length > 1 ? " of all" : ""}`,
    "all runs, done");
  const problems = texts.filter((part) => /failed|stopped|stalled|unreadable/.test(part));
  document.title = `${[...problems, text.percent(percent)].filter(Boolean).join(", ")} – flexopt watch`;
  setText(find("#place"), text.visible(`${state.directories.join(", ")} on ${state.host}`));
  find("#notes").hidden = !state.notes.length;
  sync(find("#notes"), state.notes, (note) => note, (note) => {
    return { node: make("li", {}, text.visible(note)), update() {} };
  });
}

async function showJob(id) {
  const answer = await ask(`/job.json?id=${id}`);
  const view = runs.open.get(id);
  if (answer && view) view.update(answer, now());
}

let [round, resources] = [0, null];
async function showAll() {
  state = await ask("/boards.json") ?? state;
  showSummary();
  runs.update(state, now());
  // A chart of one run is that of its rate.
  chart.update(state.boards.length > 1 ? state.history : [], now());
  await Promise.all([...runs.open.keys()].map(showJob));
  if (round++ % RESOURCES_EVERY === 0) {
    resources = await ask("/resources.json") ?? resources;
    if (resources) showResources(resources, now());
    else round = 0; // Nothing was looked at yet.
  }
}

function say(kind, message) {
  setClass(find("#live"), kind);
  setText(find("#live"), message);
}

let [pause, timer, lost, isAsking] = [PAUSE, null, null, false];
async function poll() {
  clearTimeout(timer);
  if (document.hidden || isAsking) return;
  isAsking = true;
  try {
    await showAll();
    [pause, lost] = [PAUSE, null];
    if (age > STALE_SECONDS) say("problem", `Last look ${text.age(age)} ago: the file system is slow`);
    else say("good", "Live");
  } catch (error) {
    pause = Math.min(pause * 2, LONGEST_PAUSE);
    lost ??= now();
    if (error.message === "forbidden") {
      say("problem", "Open the address that flexopt watch has printed last");
    } else {
      say("problem", `Not connected since ${text.clock(lost)}; trying again`);
    }
  }
  isAsking = false;
  timer = setTimeout(poll, pause);
}

document.addEventListener("visibilitychange", poll);
poll();
