// The table of runs: grouped by state, problems first, each row opened to its tasks.

import { button, make, meter, setAttribute, setClass, setText, sync } from "./nodes.js";
import { jobView } from "./tasks.js";
import * as text from "./text.js";

const FEW = 30; // Runs up to which all groups are open from the beginning.
const LIMIT = 100; // Rows of a group that are shown before the rest is asked for.
const FOLDED = new Set(["pending", "completed"]);
const TITLES = ["Run", "Done", "Left", "Rate", "Updated", "Where", "What"];

export class Runs {
  constructor(section, onOpen) {
    this.body = section.querySelector("tbody");
    this.table = section.querySelector("table");
    this.empty = section.querySelector("#empty");
    this.filter = section.querySelector("#filter");
    this.search = section.querySelector("input");
    this.onOpen = onOpen;
    this.groups = new Map(); // What the user chose: open or not.
    this.limits = new Map();
    this.open = new Map(); // The views of open runs, by id.
    this.state = null;
    // Roles are said, for some browsers forget them where rows are laid out as cards.
    this.table.setAttribute("role", "table");
    this.search.addEventListener("input", () => this.draw());
  }

  update(state, now) {
    const isFirst = !this.state?.boards.length;
    [this.state, this.now] = [state, now];
    const ids = new Set(state.boards.map((record) => record.id));
    for (const id of this.open.keys()) if (!ids.has(id)) this.open.delete(id);
    if (isFirst && state.boards.length === 1) this.toggle(state.boards[0].id);
    this.draw();
  }

  toggle(id) {
    if (!this.open.delete(id)) {
      this.open.set(id, jobView());
      this.onOpen(id);
    }
    this.draw();
  }

  nameOf(record) {
    const [only, ...more] = this.state.directories;
    const path = record.directory;
    const isBelow = !more.length && path.startsWith(`${only.replace(/\/+$/, "")}/`);
    return text.visible(isBelow ? path.slice(only.replace(/\/+$/, "").length + 1) : path);
  }

  matches(record, wanted) {
    const facts = [record.directory, text.job(record), record.host, record.status, record.reason];
    return facts.some((fact) => (fact ?? "").toLowerCase().includes(wanted));
  }

  draw() {
    const { boards, directories } = this.state;
    const wanted = this.search.value.trim().toLowerCase();
    const shown = wanted ? boards.filter((record) => this.matches(record, wanted)) : boards;
    this.filter.hidden = boards.length <= 10 && !wanted;
    this.table.hidden = !shown.length;
    this.empty.hidden = shown.length > 0;
    setText(this.empty, boards.length ? "No run has that in its name, job, host or reason."
      : `No job has counted in or below ${text.visible(directories.join(", "))} yet.`);
    const byState = new Map();
    for (const record of shown) {
      if (!byState.has(record.status)) byState.set(record.status, []);
      byState.get(record.status).push(record);
    }
    const items = [];
    for (const [state, records] of byState) {
      const isOpen = Boolean(wanted) || (this.groups.get(state)
        ?? (boards.length <= FEW || !FOLDED.has(state)));
      items.push({ key: `group ${state}`, create: groupRow, state, count: records.length, isOpen });
      const limit = this.limits.get(state) ?? LIMIT;
      for (const record of isOpen ? records.slice(0, limit) : []) {
        items.push({ key: record.id, create: runRow, record });
        const view = this.open.get(record.id);
        if (view) items.push({ key: `tasks ${record.id}`, create: tasksRow, view, record });
      }
      const more = isOpen ? Math.max(records.length - limit, 0) : 0;
      if (more) items.push({ key: `more ${state}`, create: moreRow, state, more });
    }
    sync(this.body, items, (item) => item.key, (item) => item.create(this, item));
  }
}

function wideRow(className, ...children) {
  const cell = make("td", { colSpan: TITLES.length, role: "cell" }, ...children);
  return make("tr", { className, role: "row" }, cell);
}

function groupRow(runs, { state }) {
  const number = make("span", { className: "figure" });
  const toggle = button("", () => {
    runs.groups.set(state, toggle.getAttribute("aria-expanded") !== "true");
    runs.draw();
  }, { className: "toggle" });
  toggle.append(make("span", { className: "badge" }, state), number);
  const cell = make("th", { colSpan: TITLES.length, scope: "rowgroup", role: "rowheader" }, toggle);
  const node = make("tr", { className: `group ${state}`, role: "row" }, cell);
  return {
    node,
    update(item) {
      setText(number, text.count(item.count));
      setAttribute(toggle, "aria-expanded", item.isOpen);
    },
  };
}

function moreRow(runs, { state }) {
  const show = button("", () => {
    runs.limits.set(state, Infinity);
    runs.draw();
  });
  return { node: wideRow("more", show), update: (item) => setText(show, `Show ${text.count(item.more)} more`) };
}

function tasksRow(runs, { view, record }) {
  const node = wideRow("tasks-of", view.node);
  node.id = `tasks-${record.id}`;
  return { node, update() {} };
}

function runRow(runs, { record: { id } }) {
  const toggle = button("", () => runs.toggle(id), { className: "toggle" });
  const bar = meter();
  const cells = TITLES.map((title, index) => make(index ? "td" : "th", {
    role: index ? "cell" : "rowheader", className: title.toLowerCase(),
  }));
  const [name, done, left, rate, updated, where, what] = cells;
  name.scope = "row";
  name.append(toggle);
  done.append(bar.node);
  const node = make("tr", { role: "row" }, ...cells);
  return {
    node,
    update({ record }) {
      setClass(node, `run ${record.status}`);
      const shown = runs.nameOf(record);
      setText(toggle, shown);
      setAttribute(toggle, "title", text.visible(record.directory));
      setAttribute(toggle, "aria-expanded", runs.open.has(id));
      bar.update(record.percent, text.percent(record.percent), `${shown}, done`);
      const isRunning = record.status === "running";
      setText(left, isRunning && record.eta_seconds !== null ? text.duration(record.eta_seconds) : "");
      setText(rate, isRunning ? text.rate(record.rate) : "");
      setText(updated, record.updated === null ? "" : text.age(runs.now - record.updated));
      const job = text.job(record);
      setText(where, text.visible([record.host, job && `job ${job}`].filter(Boolean).join(", ")));
      setText(what, text.visible(text.what(record, runs.now)));
    },
  };
}
