// A small line chart: pairs of time and value; a value of null breaks the line.

import { make, setAttribute, setText } from "./nodes.js";
import { clock } from "./text.js";

const [WIDTH, HEIGHT] = [600, 100];
const SVG = "http://www.w3.org/2000/svg";

function shape(name, className) {
  const node = document.createElementNS(SVG, name);
  node.setAttribute("class", className);
  node.setAttribute("vector-effect", "non-scaling-stroke");
  return node;
}

// The least of 1, 2 or 5 times a power of ten that is not below a value.
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((factor) => factor * power >= value * (1 - 1e-9)) * power;
}

export function lineChart(title, format, highest = null) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const [area, line] = [shape("path", "area"), shape("path", "line")];
  svg.append(area, line);
  const labels = ["y-top", "y-zero", "x-first", "x-last"].map((name) => make("span", { className: name }));
  const caption = make("figcaption", {}, title);
  const plot = make("div", { className: "plot" }, svg, ...labels);
  const node = make("div", { className: "chart", hidden: true }, caption, plot);

  function update(points, now) {
    const known = points.filter(([, value]) => value !== null);
    node.hidden = known.length < 2;
    if (node.hidden) return;
    const values = known.map(([, value]) => value);
    const top = highest ?? rounded(Math.max(...values) || 1);
    const [first, last] = [points[0][0], Math.max(now, points[points.length - 1][0])];
    const x = (time) => ((time - first) / (last - first || 1) * WIDTH).toFixed(1);
    const y = (value) => (HEIGHT - value / top * HEIGHT).toFixed(1);
    // Each unbroken piece is a line, and an area below it.
    let [strokes, fills, begun] = ["", "", null];
    points.forEach(([time, value], index) => {
      const isLast = index === points.length - 1 || points[index + 1][1] === null;
      if (value === null) {
        begun = null;
        return;
      }
      const step = `${begun === null ? "M" : "L"}${x(time)},${y(value)}`;
      strokes += step;
      fills += begun === null ? `M${x(time)},${HEIGHT}L${x(time)},${y(value)}` : step;
      begun ??= time;
      if (isLast) fills += `L${x(time)},${HEIGHT}Z`;
    });
    line.setAttribute("d", strokes);
    area.setAttribute("d", fills);
    const [low, high] = [Math.min(...values), Math.max(...values)].map(format);
    const ends = [first, last].map((time) => clock(time, last - first < 600));
    const texts = [format(top), format(0), ...ends];
    labels.forEach((label, index) => setText(label, texts[index]));
    const latest = format(values[values.length - 1]);
    const text = `${title}: ${latest}, between ${low} and ${high} since ${clock(first)}`;
    setAttribute(svg, "aria-label", text);
  }
  return { node, update };
}
