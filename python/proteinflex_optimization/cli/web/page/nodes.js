// Making and updating parts of the page. Text is only ever set as text, never as HTML.

export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// Makes the children of `parent` those of `items`, each by its key, and touches only what differs.
// `create(item)` returns { node, update }; `update(item)` is called for each of them.
export function sync(parent, items, keyOf, create) {
  const known = parent.known ??= new Map();
  const keys = new Set(items.map(keyOf));
  for (const [key, entry] of known) {
    if (keys.has(key)) continue;
    entry.node.remove();
    known.delete(key);
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let entry = known.get(key);
    if (!entry) known.set(key, entry = create(item));
    if (entry.node === place) {
      place = place.nextElementSibling;
    } else {
      // A node that is moved loses the focus.
      const focused = entry.node.contains(document.activeElement) && document.activeElement;
      parent.insertBefore(entry.node, place);
      if (focused) focused.focus({ preventScroll: true });
    }
    entry.update(item);
  }
}

export function button(text, onClick, properties = {}) {
  const node = make("button", { type: "button", ...properties }, text);
  node.addEventListener("click", onClick);
  return node;
}

// A bar with its percentage; unknown where `value` is null.
export function meter() {
  const bar = make("progress", { max: 100 });
  const text = make("span", { className: "figure" });
  const node = make("span", { className: "meter" }, bar, text);
  return {
    node,
    update(value, shown, label) {
      setAttribute(bar, "aria-label", label);
      bar.hidden = value === null;
      if (value !== null && bar.value !== value) bar.value = value;
      setText(text, shown);
    },
  };
}
