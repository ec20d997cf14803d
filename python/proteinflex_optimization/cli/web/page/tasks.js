// The tree of a job's tasks, and how its rate went: what an open run shows.

import { lineChart } from "./charts.js";
import { button, make, meter, setClass, setText, sync } from "./nodes.js";
import * as text from "./text.js";

const MANY = 40; // Tasks from which on complete ones are folded.
const MARKS = { failed: "✕", stopped: "■", running: "▶", completed: "✓" };
const FIRST = { failed: 0, stopped: 1 };

function inOrder(tasks, ids) {
  // The sort is stable: the rest stays as it was started.
  return ids.filter((id) => id in tasks)
    .sort((a, b) => (FIRST[tasks[a].status] ?? 2) - (FIRST[tasks[b].status] ?? 2));
}

function steps(task) {
  return `${text.count(task.completed)} of ${task.total === null ? "?" : text.count(task.total)}`;
}

function details(task, ofRun) {
  const parts = [steps(task), text.duration(task.elapsed_seconds)];
  if (task.status === "running") {
    if (task.rate !== null) parts.push(text.rate(task.rate));
    parts.push(task.eta_seconds === null
      ? "time left unknown" : `${text.duration(task.eta_seconds)} left`);
  }
  if (task.batch && text.job(task.batch) !== ofRun) {
    parts.push(`job ${text.job(task.batch)} on ${task.batch.node}`);
  }
  return parts.map(text.visible).join(" · ");
}

function taskItem(id, view, depth) {
  let open = null; // What the user chose, else null.
  const mark = make("span", { className: "mark", "aria-hidden": "true" });
  const state = make("span", { className: "hidden" });
  const name = make("span", { className: "name" });
  const toggle = button("", () => {
    open = toggle.getAttribute("aria-expanded") !== "true";
    view.redraw();
  }, { className: "toggle" });
  const bar = meter("");
  const facts = make("span", { className: "facts muted" });
  const message = make("span", { className: "message" });
  const head = make("div", { className: "task" }, toggle, mark, state, name, bar.node, facts, message);
  const list = make("ul");
  const node = make("li", {}, head, list);
  node.style.setProperty("--depth", depth);
  return {
    node,
    update() {
      const task = view.tasks[id];
      setClass(node, task.status);
      setText(mark, MARKS[task.status] ?? "○");
      setText(state, `${task.status}: `);
      setText(name, text.visible(task.name));
      bar.node.firstChild.ariaLabel = `${text.visible(task.name)}, done`;
      bar.update(task.percent, text.percent(task.percent));
      setText(facts, details(task, view.job));
      setText(message, text.visible(task.message ?? ""));
      const parts = inOrder(view.tasks, task.children);
      const byDefault = !view.isLarge || task.status !== "completed";
      const isOpen = parts.length > 0 && (open ?? byDefault);
      toggle.style.visibility = parts.length ? "" : "hidden";
      toggle.setAttribute("aria-expanded", String(isOpen));
      toggle.ariaLabel = `${text.counted(parts.length, "part")} of ${name.textContent}`;
      list.hidden = !isOpen;
      sync(list, isOpen ? parts : [], (part) => part, (part) => taskItem(part, view, depth + 1));
    },
  };
}

export function jobView() {
  const chart = lineChart("Rate", text.rate);
  const note = make("p", { className: "muted" });
  const tree = make("ul", { className: "tasks" });
  const view = { tasks: {}, job: "", isLarge: false, redraw: drawTree };
  const node = make("div", { className: "job" }, chart.node, tree, note);

  function drawTree() {
    const roots = Object.keys(view.tasks).filter((id) => view.tasks[id].parent === null);
    sync(tree, inOrder(view.tasks, roots), (id) => id, (id) => taskItem(id, view, 0));
  }

  function update(answer, now) {
    if (answer.error !== null) {
      setText(note, text.visible(answer.error));
      return;
    }
    view.tasks = answer.job.tasks;
    view.job = text.job(answer.job.batch);
    view.isLarge = Object.keys(view.tasks).length > MANY;
    drawTree();
    chart.update(answer.history, now);
    setText(note, answer.tasks_left_out
      ? `and ${text.counted(answer.tasks_left_out, "more task")}: flexopt watch --json has all` : "");
  }
  return { node, update };
}
