// Checkpoints, caches and GPUs: each section is there only if there is something to show.

import { make, meter, setAttribute, setClass, setText, sync } from "./nodes.js";
import * as text from "./text.js";

const FEW = 3; // Directories of checkpoints up to which all are open from the beginning.

function show(section, items, leftOut, noun, keyOf, create) {
  section.hidden = !items.length;
  sync(section.querySelector(".list"), items, keyOf, create);
  setText(section.querySelector(".more"), leftOut ? `and ${text.counted(leftOut, `more ${noun}`)}` : "");
}

export function showResources(answer, now) {
  const none = { directories: [], left_out: 0 };
  const [checkpoints, caches] = [answer.checkpoints ?? none, answer.caches ?? none];
  const isOpen = checkpoints.directories.length <= FEW;
  const folders = checkpoints.directories.map((item) => ({ item, isOpen, now }));
  show(document.querySelector("#checkpoints"), folders, checkpoints.left_out, "directory",
    ({ item }) => item.directory, checkpointsItem);
  show(document.querySelector("#caches"), caches.directories, caches.left_out, "cache",
    (item) => item.cache_dir, cacheItem);
  const gpus = answer.gpus ?? { gpus: [], error: null };
  const devices = gpus.gpus.map((gpu) => ({ gpu, users: gpus.users }));
  const section = document.querySelector("#gpus");
  show(section, devices, 0, "GPU", ({ gpu }) => gpu.uuid, gpuItem);
  section.hidden = !devices.length && gpus.error === null;
  setText(section.querySelector(".more"), gpus.error !== null ? text.visible(gpus.error) : fits(gpus));
}

function checkpointsItem() {
  let isChosen = false; // Whether the user has opened or closed it.
  const name = make("span", { className: "path" });
  const facts = make("span", { className: "muted" });
  const titles = ["Checkpoint", "Age", "Size", "Holds"];
  const body = make("tbody");
  const table = make("table", {}, make("thead", {}, make("tr", {},
    ...titles.map((title) => make("th", { scope: "col" }, title)))), body);
  const title = make("summary", {}, name, facts);
  title.addEventListener("click", () => {
    isChosen = true;
  });
  const node = make("details", {}, title, table);
  return {
    node,
    update({ item, isOpen, now }) {
      if (!isChosen) node.open = isOpen;
      const path = text.visible(item.directory);
      setText(name, path);
      setAttribute(table, "aria-label", `Newest checkpoints of ${path}`);
      const newest = item.newest_at ? `, newest ${text.age(now - item.newest_at)} ago` : "";
      const all = `${text.counted(item.count, "checkpoint")}, ${text.size(item.size_bytes)}${newest}`;
      setText(facts, item.error !== null ? text.visible(item.error)
        : item.damaged ? `${all}, ${text.count(item.damaged)} damaged` : all);
      setClass(node, item.error !== null || item.damaged ? "problem" : "");
      const rows = item.checkpoints.map((row) => ({ row, now }));
      sync(body, rows, ({ row }) => row.checkpoint_id, checkpointRow);
    },
  };
}

const PROBLEMS = { damaged: "damaged", newer: "of a newer version", unreadable: "can't be read" };

function checkpointRow() {
  const cells = [make("th", { scope: "row" }), ...[1, 2, 3].map(() => make("td"))];
  const node = make("tr", {}, ...cells);
  return {
    node,
    update({ row, now }) {
      const [made, holds] = row.problem === null
        ? [text.age(now - row.created_at), row.components.join(", ")] : ["", PROBLEMS[row.problem]];
      const texts = [row.checkpoint_id, made, text.size(row.size_bytes), holds];
      texts.forEach((value, index) => setText(cells[index], text.visible(value)));
      setClass(node, row.problem === null ? "" : "problem");
    },
  };
}

function cacheItem() {
  const name = make("h3", { className: "path" });
  const bar = meter();
  const facts = make("p", { className: "muted" });
  const problem = make("p", { className: "problem" });
  const node = make("div", { className: "item" }, name, bar.node, facts, problem);
  return {
    node,
    update(item) {
      setText(name, text.visible(item.cache_dir));
      bar.node.hidden = item.error !== null;
      setText(problem, item.error !== null ? text.visible(item.error)
        : item.quarantined ? `${text.counted(item.quarantined, "damaged entry", "damaged entries")} in quarantine` : "");
      if (item.error !== null) return;
      const used = `${text.size(item.used_bytes)} of ${text.size(item.max_bytes)}`;
      bar.update(item.usage_percent, `${used} (${text.percent(item.usage_percent)})`,
        `used of the cache ${name.textContent}`);
      const parts = [text.counted(item.structures, "structure"),
        text.counted(item.trajectories, "trajectory", "trajectories"),
        `${item.saved_percent.toFixed(0)} % saved`];
      if (item.unfinished) parts.push(`${text.count(item.unfinished)} unfinished`);
      setText(facts, parts.join(" · "));
    },
  };
}

function gpuItem() {
  const name = make("h3");
  const bar = meter();
  const facts = make("p", { className: "muted" });
  const held = make("ul", { className: "held" });
  const node = make("div", { className: "item" }, name, bar.node, facts, held);
  return {
    node,
    update({ gpu, users }) {
      const isUsable = gpu.status === "ok";
      setText(name, text.visible(`GPU ${gpu.index ?? "-"} ${gpu.name || "?"}`));
      setClass(facts, isUsable ? "muted" : "problem");
      bar.node.hidden = !isUsable;
      const rows = isUsable ? gpu.reservations.map((row) => ({ row, users })) : [];
      sync(held, rows, ({ row }) => `${row.pid} ${row.task}`, heldItem);
      if (!isUsable) {
        setText(facts, text.visible(gpu.obstacle));
        return;
      }
      const used = gpu.memory_total - gpu.memory_free;
      bar.update(100 * used / gpu.memory_total,
        `${text.count(used)} of ${text.count(gpu.memory_total)} MiB`,
        `used memory of ${name.textContent}`);
      const parts = [`${text.count(gpu.memory_unreserved)} MiB not reserved`];
      if (gpu.utilization !== null) parts.push(`${gpu.utilization} % busy`);
      if (gpu.obstacle !== null) parts.push(text.visible(gpu.obstacle));
      setText(facts, parts.join(" · "));
    },
  };
}

function heldItem() {
  const node = make("li");
  return {
    node,
    update({ row, users }) {
      const user = users[row.user] ?? `user ${row.user}`;
      setText(node, text.visible(`${text.count(row.memory)} MiB for ${row.task}: pid ${row.pid}, `
        + `${user}, ${row.command}`));
    },
  };
}

function fits(gpus) {
  if (!gpus.gpus.length) return "";
  return text.visible(Object.entries(gpus.required_memory).map(([task, memory]) => {
    const places = gpus.fits[task];
    return `${task} (${text.count(memory)} MiB) fits on ${places.length
      ? places.join(", ") : "no single GPU now"}`;
  }).join("; "));
}
