// The tree of a job's tasks, and how its rate went: what an open run shows.

import { lineChart } from "./charts.js";
import { button, make, meter, setAttribute, setClass, setText, sync } from "./nodes.js";
import * as text from "./text.js";

const MANY = 40; // Tasks from which on complete ones are folded.
const FEW = 5; // Complete parts of a task that are never folded.
const MARKS = { failed: "✕", stopped: "■", running: "▶", completed: "✓" };
const FIRST = { failed: 0, stopped: 1 };

function inOrder(tasks, ids) {
  // The sort is stable: the rest stays as it was started.
  return [...ids].sort((a, b) => (FIRST[tasks[a].status] ?? 2) - (FIRST[tasks[b].status] ?? 2));
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

// Shows parts of a task, or the tasks of a job; of many, complete ones when they are asked for.
function partsList(view, depth) {
  let isWhole = false;
  const list = make("ul");

  function update(ids) {
    const parts = inOrder(view.tasks, ids);
    const left = parts.filter((id) => view.tasks[id].status !== "completed");
    const folded = parts.length - left.length;
    const isFolded = view.isLarge && !isWhole && left.length && folded > FEW;
    const items = (isFolded ? left : parts).map((id) => ({ key: `task ${id}`, id }));
    if (isFolded) items.push({ key: "more", folded });
    sync(list, items, (item) => item.key, ({ id }) => id === undefined ? moreItem() : taskItem(id, view, depth));
  }

  function moreItem() {
    const show = button("", () => {
      isWhole = true;
      view.redraw();
    });
    const node = make("li", { className: "task-more" }, show);
    return { node, update: (item) => setText(show, `Show ${text.count(item.folded)} complete`) };
  }
  return { list, update };
}

function taskItem(id, view, depth) {
  let open = null; // What the user chose, else null.
  const mark = make("span", { className: "mark", "aria-hidden": "true" });
  const state = make("span", { className: "hidden" });
  const name = make("span", { className: "name" });
  const toggle = button("", () => {
    open = toggle.getAttribute("aria-expanded") !== "true";
    view.redraw();
  });
  const bar = meter();
  const facts = make("span", { className: "facts muted" });
  const message = make("span", { className: "message" });
  const head = make("div", { className: "task" }, toggle, mark, state, name, bar.node, facts, message);
  const { list, update: updateParts } = partsList(view, depth + 1);
  const node = make("li", {}, head, list);
  node.style.setProperty("--depth", depth);
  return {
    node,
    update() {
      const task = view.tasks[id];
      setClass(node, task.status);
      setText(mark, MARKS[task.status] ?? "○");
      setText(state, `${task.status}: `);
      const shown = text.visible(task.name);
      setText(name, shown);
      bar.update(task.percent, text.percent(task.percent), `${shown}, done`);
      setText(facts, details(task, view.job));
      setText(message, text.visible(task.message ?? ""));
      const parts = task.children.filter((part) => part in view.tasks);
      const byDefault = !view.isLarge || task.status !== "completed";
      const isOpen = parts.length > 0 && (open ?? byDefault);
      setClass(toggle, parts.length ? "toggle" : "toggle none");
      setAttribute(toggle, "aria-expanded", isOpen);
      setAttribute(toggle, "aria-label", `${text.counted(parts.length, "part")} of ${shown}`);
      list.hidden = !isOpen;
      updateParts(isOpen ? parts : []);
    },
  };
}

export function jobView() {
  const chart = lineChart("Rate", text.rate);
  const note = make("p", { className: "muted" });
  const view = { tasks: {}, job: "", isLarge: false, redraw: drawTree };
  const tree = partsList(view, 0);
  tree.list.className = "tasks";
  const node = make("div", { className: "job" }, chart.node, tree.list, note);

  function drawTree() {
    tree.update(Object.keys(view.tasks).filter((id) => view.tasks[id].parent === null));
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
