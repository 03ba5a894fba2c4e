// The explorer's page. Routes: # (layers), #LAYER, #LAYER/UNIT, #image, #image/INDEX,
// #about. A page opened from the disk may not fetch, so that data come as scripts, each
// of which calls explorer.add(NAME, DATA) once.
"use strict";

const explorer = { data: new Map(), pictures: {} };

// ---- Data ---------------------------------------------------------------------------

explorer.add = (name, data) => {
  explorer.data.set(name, data);
  if (name === "index") document.addEventListener("DOMContentLoaded", start);
};

const pending = new Map();

function load(name) {
  if (explorer.data.has(name)) return Promise.resolve(explorer.data.get(name));
  if (!pending.has(name)) {
    const promise = new Promise((resolve, reject) => {
      const script = element("script", { src: `${name}.js` });
      script.onload = () => resolve(explorer.data.get(name));
      script.onerror = () => {
        pending.delete(name);
        reject(new Error(`${name}.js cannot be read`));
      };
      document.head.append(script);
    });
    pending.set(name, promise);
  }
  return pending.get(name);
}

const padded = (number, digits) => String(number).padStart(digits, "0");
const layerFile = (layer) => `layers/${padded(layer, 3)}`;
const blockOf = (index) => Math.floor(index / net.block);
const blockFile = (layer, unit) => `${layerFile(layer)}/${padded(blockOf(unit), 4)}`;
const imageFile = (order) => `images/${padded(blockOf(order), 4)}`;

let net; // The index: what opens first.
const layerNumbers = new Map();

// ---- Elements -----------------------------------------------------------------------

// Texts become text nodes: nothing that a net or a file is called is read as HTML.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

const div = (className, ...children) => element("div", { className }, ...children);
const span = (className, ...children) => element("span", { className }, ...children);
const paragraph = (text) => element("p", { className: "faint" }, text);
const captioned = (left, right) => span("caption", span("", left), span("", right));

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function shown(value, digits = 3) {
  if (value === null || value === undefined) return "unknown";
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 8 });
}

const percent = (value) => (value === null ? "unknown" : `${shown(100 * value)} %`);
const sized = (size) => (size.length ? size.join("\u00a0×\u00a0") : "one value an image");

// Pictures outside of the window are loaded when they come near it.
const nearby = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      nearby.unobserve(target);
      target.style.backgroundImage = target.dataset.picture;
    }
  },
  { rootMargin: "200px" },
);

// A picture of a sheet, as wide as its parent. `part` is the (h, w) that it takes of its
// place in the sheet.
function tile(path, sheet, rows, row, column, label, part = sheet.size) {
  const [height, width] = part;
  const across = (sheet.columns * sheet.pitch[1]) / width;
  const down = (rows * sheet.pitch[0]) / height;
  const offset = (shift, size) => (size > 1 ? (100 * shift) / (size - 1) : 0);
  const x = offset((column * sheet.pitch[1]) / width, across);
  const y = offset((row * sheet.pitch[0]) / height, down);
  const made = element("span", { className: "tile", role: "img", ariaLabel: label });
  if (Math.max(height, width) < 48) made.classList.add("crisp");
  made.style.aspectRatio = `${width} / ${height}`;
  made.style.backgroundSize = `${100 * across}% ${100 * down}%`;
  made.style.backgroundPosition = `${x}% ${y}%`;
  made.dataset.picture = `url("${explorer.pictures[path] ?? path}")`;
  nearby.observe(made);
  return made;
}

function unitTile(layer, unit, sheetName, sheet, column, label) {
  const path = `${blockFile(layer, unit)}-${sheetName}.webp`;
  const first = blockOf(unit) * net.block;
  const rows = Math.min(net.block, net.layers[layer].units - first);
  return tile(path, sheet, rows, unit - first, column, label);
}

function front(layer, unit, column = 0) {
  const label = column ? `Strongest patch of unit ${unit}` : `Projection of unit ${unit}`;
  return unitTile(layer, unit, "front", net.layers[layer].front, column, label);
}

function imageTile(order, sheetName, sheet, column, label, size) {
  const first = blockOf(order) * net.block;
  const rows = Math.min(net.block, net.images - first);
  const path = `${imageFile(order)}-${sheetName}.webp`;
  return tile(path, sheet, rows, order - first, column, label, size);
}

// ---- Links --------------------------------------------------------------------------

function link(layer, unit) {
  let name = encodeURIComponent(net.layers[layer].name);
  // A layer that is called as a page of ours.
  if (["image", "about"].includes(name)) {
    name = `%${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
  }
  return unit === undefined ? `#${name}` : `#${name}/${unit}`;
}

function linked(layer, unit, left, right) {
  return element(
    "a",
    { className: "linked", href: link(layer, unit) },
    front(layer, unit),
    captioned(left, right),
  );
}

// ---- A grid that holds only what can be seen -----------------------------------------

class Grid {
  // `cell(i)` makes the i-th link; `width` and `height` are its pixels.
  constructor(count, width, height, label, cell) {
    Object.assign(this, { count, width, height, cell, cells: new Map(), current: 0 });
    this.node = element("div", { className: "grid", role: "group", ariaLabel: label });
    this.draw = this.draw.bind(this);
    this.node.addEventListener("keydown", (event) => this.move(event));
    addEventListener("scroll", this.draw, { passive: true });
    addEventListener("resize", this.draw);
  }

  remove() {
    removeEventListener("scroll", this.draw);
    removeEventListener("resize", this.draw);
  }

  draw() {
    const columns = Math.max(1, Math.floor(this.node.clientWidth / this.width));
    if (columns !== this.columns) {
      this.columns = columns;
      this.node.style.height = `${Math.ceil(this.count / columns) * this.height}px`;
      for (const [index, cell] of this.cells) this.place(cell, index);
    }
    const above = -this.node.getBoundingClientRect().top;
    const first = (Math.floor(above / this.height) - 1) * columns;
    const last = (Math.ceil((above + innerHeight) / this.height) + 1) * columns;
    for (const [index, cell] of this.cells) {
      const seen = index >= first && index < last;
      if (seen || cell === document.activeElement) continue;
      cell.remove();
      this.cells.delete(index);
    }
    for (let i = Math.max(0, first); i < Math.min(this.count, last); i++) this.show(i);
  }

  show(index) {
    if (this.cells.has(index)) return this.cells.get(index);
    const cell = this.cell(index);
    cell.classList.add("cell");
    cell.style.width = `${this.width - 6}px`;
    cell.style.height = `${this.height - 6}px`;
    cell.tabIndex = index === this.current ? 0 : -1;
    this.place(cell, index);
    this.cells.set(index, cell);
    this.node.append(cell);
    return cell;
  }

  place(cell, index) {
    const row = Math.floor(index / this.columns);
    const x = (index % this.columns) * this.width;
    cell.style.left = `${x}px`;
    cell.style.top = `${row * this.height}px`;
  }

  move(event) {
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
      Home: -this.count,
      End: this.count,
    };
    const step = steps[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.focus(Math.min(this.count - 1, Math.max(0, this.current + step)));
  }

  focus(index) {
    const former = this.cells.get(this.current);
    if (former) former.tabIndex = -1;
    this.current = index;
    const cell = this.show(index);
    cell.tabIndex = 0;
    cell.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "nearest" });
  }
}

// ---- Overview -----------------------------------------------------------------------

// How far from the input each layer stands. Of a net whose graph is unknown, layers stand
// in the order of the forward pass.
function depths() {
  if (!net.layers.some((layer) => layer.inputs.length)) return net.layers.map((_, n) => n);
  const found = [];
  net.layers.forEach((layer, number) => {
    // Layers come in the order of the forward pass: what feeds one is before it.
    const before = layer.inputs.filter((input) => input < number);
    found.push(Math.max(-1, ...before.map((input) => found[input])) + 1);
  });
  return found;
}

function layerCard(layer, number) {
  const lines = [
    `${layer.units} ${layer.units === 1 ? "unit" : "units"}, ${sized(layer.size)}`,
    layer.receptive_field
      ? `receptive field ${sized(layer.receptive_field)}`
      : "receptive field unknown",
    `${layer.dead} dead`,
  ];
  if (layer.inputs.length > 1) {
    lines.push(`from ${layer.inputs.map((input) => net.layers[input].name).join(", ")}`);
  }
  const samples = layer.samples.map((unit) => front(number, unit));
  return element(
    "a",
    { className: "layer", href: link(number) },
    element("strong", {}, layer.name),
    lines.map((line) => span("faint", line, element("br"))),
    element("span", { className: "samples", ariaHidden: "true" }, samples),
  );
}

// The card's edges in the strip's own pixels.
function edges(strip, card) {
  const { left, top } = strip.getBoundingClientRect();
  const box = card.getBoundingClientRect();
  const [x, y] = [box.left - left + strip.scrollLeft, box.top - top + strip.scrollTop];
  return { left: x, right: x + box.width, top: y, middle: y + box.height / 2 };
}

function connect(strip, cards) {
  const lines = drawn("svg", { width: strip.scrollWidth, height: strip.scrollHeight });
  const depth = depths();
  const places = cards.map((card) => edges(strip, card));
  net.layers.forEach((layer, number) => {
    for (const input of layer.inputs) {
      const [from, to] = [places[input], places[number]];
      const half = (from.right + to.left) / 2;
      let d = `M${from.right},${from.middle} C${half},${from.middle} ${half},${to.middle} ${to.left},${to.middle}`;
      if (depth[number] > depth[input] + 1) {
        // Over the layers between.
        const over = Math.min(from.top, to.top) - 50;
        d = `M${from.right - 20},${from.top} C${from.right},${over} ${to.left},${over} ${to.left + 20},${to.top}`;
      }
      lines.append(drawn("path", { d }));
    }
  });
  strip.querySelector("svg")?.remove();
  strip.prepend(lines);
}

function overview(view) {
  const units = net.layers.reduce((sum, layer) => sum + layer.units, 0);
  const strip = element("div", {
    className: "net",
    tabIndex: 0,
    role: "group",
    ariaLabel: "Layers",
  });
  const cards = net.layers.map(layerCard);
  const columns = [];
  depths().forEach((depth, number) => {
    columns[depth] ??= element("div", { className: "depth" });
    columns[depth].append(cards[number]);
  });
  strip.append(...columns);
  view.append(
    heading("Layers"),
    paragraph(
      `${net.layers.length} layers, ${shown(units, 9)} units, ${shown(net.images, 9)} images. Each picture is the strongest projection of a unit.`,
    ),
    strip,
  );
  const redraw = () => connect(strip, cards);
  requestAnimationFrame(redraw);
  addEventListener("resize", redraw);
  leave = () => removeEventListener("resize", redraw);
}

// ---- Layer --------------------------------------------------------------------------

const KEYS = {
  number: "number",
  strength: "strength",
  selectivity: "selectivity for a class",
  firing_rate: "firing rate",
  control_similarity: "similarity to controls",
};
const DEFAULTS = {
  sort: "number",
  order: "",
  from: "",
  to: "",
  class: "",
  dead: "",
  find: "",
  show: "",
};

// The units of a layer as they are sorted and filtered, which a unit's page follows.
const orders = new Map();

const className = (number) => net.classes[number] ?? `class ${number}`;

function chosenUnits(columns, state) {
  const values =
    state.sort === "number" ? columns.dead.map((_, unit) => unit) : columns[state.sort];
  const word = state.find.trim().toLowerCase();
  const best = columns.best_class;
  const kept = columns.dead
    .map((_, unit) => unit)
    .filter((unit) => {
      const value = values[unit];
      if (state.from !== "" && !(value !== null && value >= Number(state.from))) return false;
      if (state.to !== "" && !(value !== null && value <= Number(state.to))) return false;
      if (state.class !== "" && best?.[unit] !== Number(state.class)) return false;
      if (state.dead !== "" && columns.dead[unit] !== Number(state.dead)) return false;
      if (word === "") return true;
      if (/^\d+$/.test(word)) return String(unit).startsWith(word);
      return best && best[unit] >= 0 && className(best[unit]).toLowerCase().includes(word);
    });
  // What is unknown comes last in either order.
  const sign = state.order === "up" || (state.sort === "number" && state.order !== "down") ? 1 : -1;
  const last = (unit) =>
    values[unit] === null || (state.sort !== "number" && columns.dead[unit]) ? 1 : 0;
  return kept.sort((a, b) => last(a) - last(b) || sign * (values[a] - values[b]) || a - b);
}

function cellOf(layer, columns, state, unit) {
  const dead = columns.dead[unit];
  const picture = dead
    ? span("tile empty", "dead")
    : front(layer, unit, state.show === "patch" ? 1 : 0);
  if (dead) picture.style.aspectRatio = "1";
  picture.style.width = "90px";
  const best = columns.best_class?.[unit] ?? -1;
  let said = best >= 0 ? className(best) : "";
  if (state.sort === "firing_rate") said = percent(columns.firing_rate[unit]);
  else if (state.sort !== "number" && state.sort !== "selectivity")
    said = shown(columns[state.sort][unit]);
  else if (state.sort === "selectivity") said = `${shown(columns.selectivity[unit], 2)} ${said}`;
  const caption = captioned(String(unit), said);
  const label = `Unit ${unit}${dead ? ", dead" : ""}. ${said}`;
  return element("a", { href: link(layer, unit), ariaLabel: label }, picture, caption);
}

function selected(label, name, options, state, change) {
  const choices = options.map(([value, text]) =>
    element("option", { value, selected: state[name] === value }, text),
  );
  const select = element("select", { name, onchange: () => change(name, select.value) }, choices);
  return element("label", {}, label, select);
}

function typed(label, name, type, state, change) {
  const input = element("input", {
    name,
    type,
    value: state[name],
    oninput: () => change(name, input.value),
  });
  if (type === "number") input.step = "any";
  return element("label", {}, label, input);
}

function filters(columns, state, change) {
  const keys = Object.entries(KEYS).filter(([key]) => key === "number" || columns[key]);
  const classes = [...new Set(columns.best_class ?? [])]
    .filter((each) => each >= 0)
    .sort((a, b) => a - b);
  const parts = [
    selected("Sort by", "sort", keys, state, change),
    selected(
      "Order",
      "order",
      [
        ["", "usual"],
        ["down", "largest first"],
        ["up", "smallest first"],
      ],
      state,
      change,
    ),
    typed("From", "from", "number", state, change),
    typed("To", "to", "number", state, change),
    selected(
      "Dead units",
      "dead",
      [
        ["", "shown"],
        ["0", "hidden"],
        ["1", "alone"],
      ],
      state,
      change,
    ),
    selected(
      "Picture",
      "show",
      [
        ["", "projection"],
        ["patch", "patch"],
      ],
      state,
      change,
    ),
    typed(
      columns.best_class ? "Search by number or class" : "Search by number",
      "find",
      "search",
      state,
      change,
    ),
  ];
  if (classes.length) {
    const options = [["", "all"], ...classes.map((each) => [String(each), className(each)])];
    parts.splice(4, 0, selected("Best class", "class", options, state, change));
  }
  return element(
    "form",
    { className: "toolbar", role: "search", onsubmit: (event) => event.preventDefault() },
    parts,
  );
}

async function layerPage(view, layer, query) {
  const { columns } = await load(layerFile(layer));
  if (!view.isConnected) return;
  const about = net.layers[layer];
  const state = { ...DEFAULTS, ...Object.fromEntries(query) };
  if (!columns[state.sort]) state.sort = "number";
  let grid;
  const place = div("");
  const count = element("p", { className: "faint", role: "status" });
  const redraw = () => {
    const units = chosenUnits(columns, state);
    orders.set(layer, units);
    grid?.remove();
    grid = new Grid(
      units.length,
      112,
      cellHeight(about.front.size),
      `Units of ${about.name}`,
      (i) => cellOf(layer, columns, state, units[i]),
    );
    place.replaceChildren(grid.node);
    grid.draw();
    count.textContent = `${units.length} of ${about.units} units`;
    leave = () => grid.remove();
  };
  const change = (name, value) => {
    state[name] = value;
    const changed = Object.entries(state).filter(
      ([key, each]) => key in DEFAULTS && each !== DEFAULTS[key],
    );
    const text = new URLSearchParams(changed).toString();
    history.replaceState(null, "", link(layer) + (text && `?${text}`));
    redraw();
  };
  const missing = Object.keys(KEYS).filter((key) => key !== "number" && !columns[key]);
  view.append(
    heading(about.name),
    paragraph(
      `${about.units} units, ${about.size.length ? "maps " : ""}${sized(about.size)}, receptive field ${about.receptive_field ? sized(about.receptive_field) : "unknown"}, ${about.dead} dead`,
    ),
    filters(columns, state, change),
    missing.length
      ? paragraph(`Not known of this net and data: ${missing.map((key) => KEYS[key]).join(", ")}.`)
      : "",
    count,
    place,
  );
  redraw();
}

const cellHeight = ([height, width]) => 6 + 20 + Math.ceil((90 * height) / width) + 4;

// ---- Unit ---------------------------------------------------------------------------

// What stays chosen from unit to unit.
const choice = { rule: 0, control: 1, example: 0, occlusion: false };

function choices(legend, name, names, chosen, change) {
  const inputs = names.map((text, number) =>
    element(
      "label",
      {},
      element("input", {
        type: "radio",
        name,
        value: number,
        checked: number === chosen,
        onchange: () => change(number),
      }),
      ` ${text}`,
    ),
  );
  return element("fieldset", { className: "choices" }, element("legend", {}, legend), inputs);
}

const plain = (name) => name.replaceAll("_", " ");

function part(title, ...children) {
  return element("section", { className: "part" }, element("h2", {}, title), ...children);
}

function missing(title, why) {
  return part(title, paragraph(why));
}

class UnitPage {
  constructor(layer, unit, { about, said, images }) {
    Object.assign(this, { layer, unit, about, said, images });
    this.main = div("");
    this.whole = div("");
    this.draw();
  }

  tile(sheetName, column, label) {
    const sheet = this.about.sheets[sheetName];
    return unitTile(this.layer, this.unit, sheetName, sheet, column, label);
  }

  draw() {
    choice.rule = Math.min(choice.rule, this.about.rules.length - 1);
    const [, controls] = this.about.rules[choice.rule];
    // Control 0 is none: the true projection.
    choice.control = Math.min(choice.control, controls.length - 1);
    this.count = this.said.examples.image.filter((image) => image >= 0).length;
    choice.example = Math.max(0, Math.min(choice.example, this.count - 1));
    const again = (name) => (number) => {
      choice[name] = number + (name === "control" ? 1 : 0);
      this.draw();
      this.main.querySelector(`input[name=${name}]:checked`)?.focus();
    };
    const rules = this.about.rules.map(([rule]) => plain(rule));
    const names = controls.slice(1).map(plain);
    this.main.replaceChildren(
      div(
        "",
        choices("Rule", "rule", rules, choice.rule, again("rule")),
        names.length
          ? choices("Control", "control", names, choice.control - 1, again("control"))
          : "",
      ),
      div("columns", this.columns(rules, names)),
    );
    this.drawWhole();
  }

  columns(rules, names) {
    const rule = rules[choice.rule];
    const made = [
      this.nine("Strongest patches", "patches"),
      this.nine(`Projections (${rule})`, `${choice.rule}-0`),
    ];
    if (names.length) {
      made.push(
        this.nine(`Control: ${names[choice.control - 1]}`, `${choice.rule}-${choice.control}`),
      );
    } else {
      made.push(
        div("", element("h3", {}, "Control"), paragraph("None was computed for this rule.")),
      );
    }
    return made;
  }

  nine(title, sheetName) {
    const sheet = this.about.sheets[sheetName];
    const made = [];
    for (let example = 0; example < Math.min(this.count, sheet.columns); example++) {
      const value = shown(this.said.examples.value[example]);
      const label = `${title}, example ${example + 1}, activation ${value}`;
      const chosen = example === choice.example;
      made.push(
        element(
          "button",
          {
            type: "button",
            title: value,
            ariaPressed: String(chosen),
            onclick: () => this.choose(example),
          },
          this.tile(sheetName, example, label),
        ),
      );
      made.at(-1).dataset.example = example;
    }
    return div("", element("h3", {}, title), div("nine", made));
  }

  choose(example) {
    if (example >= this.count) return;
    choice.example = example;
    for (const button of this.main.querySelectorAll("button[data-example]")) {
      button.ariaPressed = String(Number(button.dataset.example) === example);
    }
    this.drawWhole();
  }

  async drawWhole() {
    const { image, value, position, box } = this.said.examples;
    const example = choice.example;
    const order = this.images.orders.get(image[example]);
    if (order === undefined) {
      this.whole.replaceChildren(paragraph("The whole image was not kept."));
      return;
    }
    const [index, name, label, prediction, size, thumbnail] = this.images.rows[order];
    const { sheets } = await load(imageFile(order));
    const picture = imageTile(
      order,
      "thumbnails",
      sheets.thumbnails,
      0,
      `Image ${index}`,
      thumbnail,
    );
    const occlusion = this.about.sheets.occlusion && example === 0;
    if (occlusion && choice.occlusion) {
      const map = this.tile("occlusion", 0, "Occlusion map");
      map.classList.add("overlay");
      picture.append(map);
    }
    if (box) picture.append(receptiveField(box[example], size));
    const facts = [
      ["Image", element("a", { href: `#image/${index}` }, name ?? `number ${index}`)],
      ["Label", label ?? "none: the data have no labels"],
      ["Prediction", prediction ?? "none: the net has no classes"],
      ["Activation", shown(value[example])],
    ];
    if (position)
      facts.push([
        "Position",
        `row ${position[example][0]}, column ${position[example][1]} of the map`,
      ]);
    if (!box) facts.push(["Receptive field", "unknown"]);
    this.whole.replaceChildren(
      div("whole", picture, div("", factList(facts), this.occlusionChoice(occlusion))),
    );
  }

  occlusionChoice(available) {
    if (!this.about.sheets.occlusion)
      return paragraph("Occlusion maps were not computed for this layer.");
    if (!available) return paragraph("There is an occlusion map for the strongest example alone.");
    const onchange = (event) => {
      choice.occlusion = event.target.checked;
      this.drawWhole().then(() => this.whole.querySelector("input")?.focus());
    };
    const input = element("input", {
      type: "checkbox",
      name: "occlusion",
      checked: choice.occlusion,
      onchange,
    });
    return element(
      "label",
      {},
      input,
      " Occlusion map: dark where covering takes the activation away",
    );
  }

  parts() {
    return [
      this.quantiles(),
      this.histogram(),
      this.classes(),
      this.where(),
      this.weights("below", "Strongest weights from the layer below"),
      this.weights("above", "Strongest weights to the layer above"),
      this.alike(),
      this.evolution(),
    ];
  }

  quantiles() {
    const title = "Examples at quantiles of activation";
    if (!this.said.quantiles) return missing(title, "Not computed for this layer.");
    const { image, value } = this.said.quantiles;
    const cells = image.map((index, column) => {
      if (index < 0) return null;
      const at = `quantile ${shown(this.about.quantile[column])}`;
      const caption = captioned(at.replace("quantile ", "q "), shown(value[column]));
      return element(
        "a",
        { className: "linked", href: `#image/${index}` },
        this.tile("quantiles", column, `Patch at ${at}`),
        caption,
      );
    });
    const made = part(title, div("row", cells));
    made.classList.add("wide");
    return made;
  }

  histogram() {
    const { edges, counts } = this.said;
    if (!counts) return missing("Activations", "No histogram was computed for this layer.");
    const most = Math.max(1, ...counts);
    const bars = counts.map((count, bin) => {
      const height = (100 * Math.log1p(count)) / Math.log1p(most);
      const range = `${shown(edges[bin])} to ${shown(edges[bin + 1])}: ${shown(count, 9)}`;
      const box = { x: bin + 0.05, y: 100 - height, width: 0.9, height };
      return drawn("rect", box, drawn("title", {}, range));
    });
    const label = `Histogram of ${counts.length} bins from ${shown(edges[0])} to ${shown(edges.at(-1))}, the fullest of ${most}`;
    const chart = {
      class: "histogram",
      viewBox: `0 0 ${counts.length} 100`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    };
    return part(
      "Activations",
      drawn("svg", chart, ...bars),
      div("ends", element("span", {}, shown(edges[0])), element("span", {}, shown(edges.at(-1)))),
      paragraph(`${this.about.histogram_of}; counts on a logarithmic scale`),
    );
  }

  classes() {
    const title = "Mean activation by class";
    if (!this.said.classes?.length) return missing(title, "The data have no classes.");
    const most = Math.max(...this.said.classes.map(([, mean]) => Math.abs(mean))) || 1;
    const rows = this.said.classes.flatMap(([number, mean]) => {
      const bar = span("");
      bar.style.width = `${(100 * Math.abs(mean)) / most}%`;
      return [div("", className(number)), div("bar", bar), div("", shown(mean))];
    });
    return part(title, div("bars", rows));
  }

  where() {
    const title = "Where in the image it fires";
    if (!this.about.sheets.where)
      return missing(title, "Its maps have one position, or were not averaged.");
    const made = part(
      title,
      this.tile("where", 0, "Mean map"),
      paragraph("mean map over the data, bright where it is largest"),
    );
    made.classList.add("where");
    return made;
  }

  weights(side, title) {
    const found = this.said[side];
    if (!found?.length)
      return missing(title, "No layer of the explorer is joined to this one by weights alone.");
    const cells = found.map(([layer, unit, weight]) =>
      linked(layer, unit, `${net.layers[layer].name} ${unit}`, shown(weight, 2)),
    );
    return part(title, div("row", cells));
  }

  alike() {
    const title = "Units alike by their activations";
    if (!this.said.alike?.length)
      return missing(title, "None: correlations need more than one unit and image.");
    const cells = this.said.alike.map(([unit, correlation]) =>
      linked(this.layer, unit, String(unit), `r ${shown(correlation, 2)}`),
    );
    return part(title, div("row", cells));
  }

  evolution() {
    const title = "Evolution during training";
    const { epochs, sheets } = this.about;
    if (!sheets.evolution || !epochs.length)
      return missing(title, "The run has no kept checkpoints.");
    const place = div("");
    const said = element("output");
    const show = (number) => {
      said.textContent = `epoch ${epochs[number]}`;
      place.replaceChildren(
        this.tile("evolution", number, `Projection at epoch ${epochs[number]}`),
      );
    };
    const last = epochs.length - 1;
    const slider = element("input", {
      type: "range",
      name: "epoch",
      min: 0,
      max: last,
      ariaLabel: "Checkpoint",
    });
    slider.value = last;
    slider.oninput = () => show(Number(slider.value));
    show(last);
    const made = part(title, place, slider, " ", said);
    made.classList.add("evolution");
    return made;
  }
}

function receptiveField([top, left, bottom, right], [height, width]) {
  const box = span("box");
  const inside = (value, size) => Math.min(size, Math.max(0, value));
  const [t, b] = [inside(top, height), inside(bottom, height)];
  const [l, r] = [inside(left, width), inside(right, width)];
  box.style.top = `${(100 * t) / height}%`;
  box.style.left = `${(100 * l) / width}%`;
  box.style.height = `${(100 * (b - t)) / height}%`;
  box.style.width = `${(100 * (r - l)) / width}%`;
  return box;
}

function factList(facts) {
  const rows = facts.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]);
  return element("dl", { className: "facts" }, rows);
}

function unitFacts(layer, unit, columns) {
  const best = columns.best_class?.[unit] ?? -1;
  const facts = [["Strength", shown(columns.strength[unit])]];
  if (columns.firing_rate) facts.push(["Firing rate", percent(columns.firing_rate[unit])]);
  if (best >= 0)
    facts.push([
      "Best class",
      `${className(best)}, selectivity ${shown(columns.selectivity?.[unit])}`,
    ]);
  if (columns.control_similarity)
    facts.push(["Similarity to controls", shown(columns.control_similarity[unit])]);
  return factList(facts);
}

function neighbours(layer, unit) {
  let order = orders.get(layer);
  if (!order?.includes(unit)) order = [...Array(net.layers[layer].units).keys()];
  const at = order.indexOf(unit);
  return [order[at - 1], order[at + 1]];
}

async function unitPage(view, layer, unit) {
  const [about, block, images] = await Promise.all([
    load(layerFile(layer)),
    load(blockFile(layer, unit)),
    imageTable(),
  ]);
  if (!view.isConnected) return;
  const [before, after] = neighbours(layer, unit);
  const toUnit = (number) => (number === undefined ? undefined : link(layer, number));
  view.append(
    heading(`${net.layers[layer].name} / ${unit}`),
    element(
      "p",
      {},
      element("a", { href: link(layer) }, `all of ${net.layers[layer].name}`),
      "  ·  ",
      neighbour(toUnit(before), "← previous unit", "prev"),
      "  ·  ",
      neighbour(toUnit(after), "next unit →", "next"),
    ),
    unitFacts(layer, unit, about.columns),
  );
  page = { layer, unit, before: toUnit(before), after: toUnit(after) };
  if (about.columns.dead[unit]) {
    view.append(
      paragraph(
        "This unit is dead: none of the images excites it, so that there is no example to show.",
      ),
    );
    return;
  }
  const made = new UnitPage(layer, unit, { about, said: block[unit % net.block], images });
  page.shown = made;
  view.append(made.main, div("parts", wide(part("The chosen example", made.whole)), made.parts()));
}

function wide(made) {
  made.classList.add("wide");
  return made;
}

// ---- Images -------------------------------------------------------------------------

async function imageTable() {
  const rows = await load("images");
  if (!rows.orders) rows.orders = new Map(rows.map(([index], order) => [index, order]));
  return { rows, orders: rows.orders };
}

async function imagesPage(view) {
  const { rows } = await imageTable();
  if (!view.isConnected) return;
  view.append(
    heading("Images"),
    paragraph(`${shown(rows.length, 9)} images that the examples come from`),
  );
  const grid = new Grid(rows.length, 122, 148, "Images", (order) => {
    const [index, name, label] = rows[order];
    const place = span("tile");
    place.style.width = place.style.height = "116px";
    load(imageFile(order)).then(({ sheets }) => {
      place.replaceWith(thumbnail(order, rows[order], sheets, 116));
    });
    const caption = captioned(String(index), label ?? name ?? "");
    return element(
      "a",
      { href: `#image/${index}`, ariaLabel: `Image ${index} ${label ?? ""}` },
      place,
      caption,
    );
  });
  view.append(grid.node);
  grid.draw();
  leave = () => grid.remove();
}

// A thumbnail in a square of `side` pixels.
function thumbnail(order, row, sheets, side) {
  const [height, width] = row[5];
  const made = imageTile(order, "thumbnails", sheets.thumbnails, 0, `Image ${row[0]}`, row[5]);
  const scale = side / Math.max(height, width);
  made.style.width = `${width * scale}px`;
  made.style.marginBottom = `${side - height * scale}px`;
  return made;
}

const toImage = (index) => (index === undefined ? undefined : `#image/${index}`);

async function imagePage(view, index) {
  const { rows, orders: known } = await imageTable();
  const order = known.get(index);
  if (order === undefined) return absent(view, `image ${index}`);
  const { images, sheets } = await load(imageFile(order));
  if (!view.isConnected) return;
  const said = images[order % net.block];
  const [, name, label, , , size] = rows[order];
  const [before, after] = [rows[order - 1]?.[0], rows[order + 1]?.[0]];
  page = { image: index, before: toImage(before), after: toImage(after) };
  const predictions = said.predictions.map(([text, p]) => [text, percent(p)]);
  const whole = div(
    "whole",
    imageTile(order, "thumbnails", sheets.thumbnails, 0, `Image ${index}`, size),
  );
  whole.append(
    div(
      "",
      factList([["Label", label ?? "none: the data have no labels"]]),
      element("h2", {}, "Prediction"),
      predictions.length ? factList(predictions) : paragraph("The net has no classes."),
    ),
  );
  const panels = said.panels.map(({ caption, size: area }, column) =>
    element(
      "figure",
      {},
      imageTile(order, "panels", sheets.panels, column, caption, area),
      element("figcaption", {}, caption),
    ),
  );
  const units = said.units.map(([layer, unit, value]) =>
    linked(layer, unit, `${net.layers[layer].name} ${unit}`, shown(value)),
  );
  view.append(
    heading(name ? `Image ${index}: ${name}` : `Image ${index}`),
    element(
      "p",
      {},
      element("a", { href: "#image" }, "all images"),
      "  ·  ",
      neighbour(page.before, "← previous image", "prev"),
      "  ·  ",
      neighbour(page.after, "next image →", "next"),
    ),
    wide(part("What the net saw", whole)),
    panels.length
      ? part("Occlusion (fig. 7)", div("row panels", panels))
      : missing("Occlusion (fig. 7)", "Not computed for this image."),
    units.length
      ? part("Units that it excites most", div("row", units))
      : missing("Units that it excites most", "Not kept for this image."),
  );
}

// ---- Routes and keys ------------------------------------------------------------------

let page = {};
let leave = () => {};

// A link to the page before or after; its text alone where there is none.
function neighbour(href, text, rel) {
  if (href === undefined) return span("faint", text);
  return element("a", { href, rel }, text);
}

function heading(text) {
  return element("h1", { tabIndex: -1 }, text);
}

function absent(view, what) {
  view.append(
    heading("Not here"),
    element("p", {}, `This explorer has no ${what}. `, element("a", { href: "#" }, "All layers")),
  );
}

function aboutPage(view) {
  view.append(document.getElementById("about").content.cloneNode(true));
}

function draw(view) {
  const [path, query = ""] = location.hash.slice(1).split("?");
  const [first, second] = path.split("/");
  if (first === "" || first === "view") return overview(view);
  if (first === "about") return aboutPage(view);
  const number = /^\d+$/.test(second ?? "") ? Number(second) : undefined;
  if (first === "image") return second === undefined ? imagesPage(view) : imagePage(view, number);
  const name = decoded(first);
  const layer = layerNumbers.get(name);
  if (layer === undefined) return absent(view, `layer ${name}`);
  page = { layer };
  if (second === undefined) return layerPage(view, layer, new URLSearchParams(query));
  if (!(number < net.layers[layer].units)) return absent(view, `unit ${second} in ${name}`);
  return unitPage(view, layer, number);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function route() {
  leave();
  leave = () => {};
  page = {};
  nearby.disconnect();
  const main = document.getElementById("view");
  const view = div("");
  main.replaceChildren(view);
  scrollTo(0, 0);
  try {
    await draw(view);
  } catch (error) {
    view.append(element("p", { role: "alert" }, `This page is incomplete: ${error.message}.`));
  }
  if (!view.isConnected) return;
  const title = view.querySelector("h1");
  document.title = `${title?.textContent ?? ""} · ${document.querySelector(".title").textContent}`;
  title?.focus({ preventScroll: true });
}

const go = (hash) => {
  location.hash = hash;
};

function step(to) {
  if (to !== undefined) go(to);
}

function next(name) {
  const count = document.querySelectorAll(`input[name=${name}]`).length;
  if (!page.shown || count === 0) return;
  const first = name === "control" ? 1 : 0;
  choice[name] = ((choice[name] - first + 1) % count) + first;
  page.shown.draw();
}

const ACTIONS = {
  ArrowLeft: () => step(page.before),
  ArrowRight: () => step(page.after),
  ArrowDown: () => document.querySelector('.cell[tabindex="0"]')?.focus(),
  u: () => {
    if (page.image !== undefined) go("#image");
    else go(page.unit === undefined || page.layer === undefined ? "#" : link(page.layer));
  },
  "[": () => page.layer > 0 && go(link(page.layer - 1)),
  "]": () => page.layer + 1 < net.layers.length && go(link(page.layer + 1)),
  r: () => next("rule"),
  c: () => next("control"),
  "/": () => document.querySelector("input[type=search]")?.focus(),
  "?": () => document.getElementById("keys").showModal(),
};

function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const { target } = event;
  const switches = "[type=radio], [type=checkbox], [type=range]";
  if (target.closest(`input:not(${switches}), select, dialog`)) return;
  // Arrows move from radio button to radio button, and sliders.
  if (target.closest("input") && event.key.startsWith("Arrow")) return;
  if (/^[1-9]$/.test(event.key)) page.shown?.choose(Number(event.key) - 1);
  const action = ACTIONS[event.key];
  if (!action) return;
  if (event.key !== "ArrowDown" || document.querySelector(".cell")) event.preventDefault();
  action();
}

function start() {
  net = explorer.data.get("index");
  net.layers.forEach(({ name }, number) => layerNumbers.set(name, number));
  document.getElementById("keys-button").onclick = ACTIONS["?"];
  addEventListener("hashchange", route);
  addEventListener("keydown", pressed);
  route();
}
