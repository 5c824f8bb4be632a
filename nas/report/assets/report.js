"use strict";
// The page answers before its plots are there: table, filter, copying and the theme need only the
// facts. `nasReport`, called when the packed rest of the page has been read, draws the plots: those
// in sight first, the others when nothing else is to do.
const root = document.documentElement;
const nonce = document.currentScript.nonce; // by which the page lets plotly run
const facts = JSON.parse(document.getElementById("facts").textContent);
const candidates = facts.candidates;
const columns = facts.columns;
let drawn = null; // figures, shapes and themes, once they are unpacked

// ---- theme -------------------------------------------------------------------------------------
const darkAsked = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");

function theme() {
  return root.dataset.theme || (darkAsked.matches ? "dark" : "light");
}

function showTheme() {
  const other = theme() === "dark" ? "Light" : "Dark";
  themeButton.textContent = other;
  themeButton.setAttribute("aria-label", `Change to ${other.toLowerCase()} colours`);
  redraw();
}

themeButton.addEventListener("click", () => {
  root.dataset.theme = theme() === "dark" ? "light" : "dark";
  showTheme();
});
darkAsked.addEventListener("change", showTheme);

// ---- table -------------------------------------------------------------------------------------
const table = document.getElementById("table");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const filter = document.getElementById("filter");
const count = document.getElementById("count");
const texts = []; // of rows, in small letters, filled when they are first asked for
let sortedBy = null;

function valueOf(candidate, name) {
  return name in candidate ? candidate[name] : candidate.metrics[name];
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortBy(name) {
  const up = !(sortedBy && sortedBy.name === name && sortedBy.up);
  sortedBy = { name, up };
  const order = candidates.map((one, at) => ({ at, value: valueOf(one, name) }));
  const known = order.filter((one) => one.value !== undefined);
  known.sort((a, b) => (up ? 1 : -1) * compare(a.value, b.value) || a.at - b.at);
  const others = order.filter((one) => one.value === undefined); // nothing comes last
  const ordered = document.createDocumentFragment();
  for (const one of [...known, ...others]) ordered.append(rows[one.at]);
  body.append(ordered);
  for (const button of table.tHead.querySelectorAll("button")) {
    const cell = button.closest("th");
    if (button.dataset.column === name) cell.setAttribute("aria-sort", up ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  }
}

table.tHead.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) sortBy(button.dataset.column);
});

// A word of the filter: NAME<NUMBER, NAME=TEXT and the like, or what the row's text must hold.
function condition(word) {
  const found = /^([a-z0-9_]+)(<=|>=|!=|<|>|=)(.+)$/i.exec(word);
  const column = found && columns.find((one) => one.name.toLowerCase() === found[1].toLowerCase());
  if (!column) {
    const wanted = word.toLowerCase();
    return (at) => {
      if (texts[at] === undefined) texts[at] = rows[at].textContent.toLowerCase();
      return texts[at].includes(wanted);
    };
  }
  const [, , sign, text] = found;
  const number = Number(text);
  return (at) => {
    const value = valueOf(candidates[at], column.name);
    if (value === undefined) return sign === "!=";
    const other = typeof value === "number" && !Number.isNaN(number) ? number : text;
    const order = compare(typeof other === "number" ? value : String(value), other);
    return { "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0, "=": order === 0, "!=": order !== 0 }[sign];
  };
}

function applyFilter() {
  const wanted = filter.value.trim().split(/\s+/).filter(Boolean).map(condition);
  let shown = 0;
  rows.forEach((row, at) => {
    row.hidden = !wanted.every((holds) => holds(at));
    shown += row.hidden ? 0 : 1;
  });
  count.textContent = `${shown} of ${rows.length} ${rows.length === 1 ? "candidate" : "candidates"}`;
}

filter.addEventListener("input", applyFilter);

// ---- one shape ---------------------------------------------------------------------------------
const panel = document.getElementById("shape");
let openedFrom = null;

function element(name, text, more = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return Object.assign(made, more);
}

function nameOf(one) {
  return one.number === undefined ? one.role : `#${one.number}`;
}

function facets(one) {
  const list = element("dl");
  for (const column of columns) {
    const value = valueOf(one, column.name);
    if (["number", "shape"].includes(column.name) || value === undefined) continue;
    list.append(element("dt", column.title), element("dd", rows[candidates.indexOf(one)].cells[columns.indexOf(column)].textContent));
  }
  return list;
}

function show(at, from) {
  const one = candidates[at];
  if (!one) return;
  openedFrom = from;
  const close = element("button", "Close", { type: "button", className: "close" });
  close.addEventListener("click", hide);
  const head = element("div", undefined, { className: "panel-head" });
  head.append(element("h2", `${nameOf(one)} ${one.shape}`), close);
  const drawing = element("div");
  if (drawn) drawing.innerHTML = drawn.shapes[one.architecture]; // drawn and escaped by us
  panel.replaceChildren(head, drawing, facets(one));
  panel.hidden = false;
  for (const row of body.querySelectorAll("tr.is-open")) row.classList.remove("is-open");
  rows[at].classList.add("is-open");
}

function hide() {
  panel.hidden = true;
  for (const row of body.querySelectorAll("tr.is-open")) row.classList.remove("is-open");
  if (openedFrom) {
    openedFrom.scrollIntoView({ block: "nearest" });
    if (openedFrom.matches("button")) openedFrom.focus();
  }
  openedFrom = null;
}

// A click on a point leads to the candidate's row, which a filter may hide.
function showFromPlot(at, plot) {
  if (rows[at].hidden) {
    filter.value = "";
    applyFilter();
  }
  show(at, plot);
  rows[at].scrollIntoView({ block: "center" });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("open")) show(Number(button.dataset.open), button);
  if (button.classList.contains("copy")) copy(button);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !panel.hidden) hide();
});

// ---- copying -----------------------------------------------------------------------------------
async function copy(button) {
  const code = button.closest(".code").querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code); // where the browser gives no leave, Ctrl-C does
    button.textContent = "Marked: press Ctrl-C";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

// ---- plots -------------------------------------------------------------------------------------
const plots = Array.from(document.querySelectorAll(".plot"));
// Named one by one: plotly's own choice has a button that would send a chart to its makers. Where
// nothing hovers, on a phone, the buttons would stand on the plot for good.
const OPTIONS = {
  responsive: true,
  displaylogo: false,
  displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};

function coloured(plain, colours) {
  if (typeof plain === "string") return plain[0] === "@" ? colours[plain.slice(1)] || plain : plain;
  if (Array.isArray(plain)) return plain.length && typeof plain[0] === "number" ? plain : plain.map((one) => coloured(one, colours));
  if (plain === null || typeof plain !== "object") return plain;
  return Object.fromEntries(Object.entries(plain).map(([name, one]) => [name, coloured(one, colours)]));
}

// Columns of numbers and texts need no colours, and there are many.
const DATA = new Set(["x", "y", "text", "customdata"]);

function figure(name, colours) {
  const found = drawn.figures[name];
  const data = found.data.map((trace) =>
    Object.fromEntries(Object.entries(trace).map(([key, one]) => [key, DATA.has(key) ? one : coloured(one, colours)])),
  );
  return { data, layout: coloured(found.layout, colours) };
}

function draw(plot, colours = drawn.themes[theme()]) {
  const { data, layout } = figure(plot.dataset.plot, colours);
  const isNew = !plot.dataset.drawn;
  plot.dataset.drawn = "yes";
  const done = Plotly.react(plot, data, layout, OPTIONS);
  if (isNew) {
    plot.on("plotly_click", ({ points }) => {
      const place = points[0].customdata;
      const at = Array.isArray(place) ? place[0] : place;
      if (typeof at === "number") showFromPlot(at, plot);
    });
  }
  return done;
}

function redraw(colours) {
  for (const plot of plots) if (plot.dataset.drawn) draw(plot, colours);
}

addEventListener("beforeprint", () => {
  if (!drawn || !window.Plotly) return;
  for (const plot of plots) draw(plot, drawn.themes.light);
});
addEventListener("afterprint", () => drawn && redraw());

async function unpacked(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function isInSight(plot) {
  const { top, bottom } = plot.getBoundingClientRect();
  return top < innerHeight && bottom > 0;
}

const idle = () => new Promise((go) => (window.requestIdleCallback ? requestIdleCallback(go, { timeout: 100 }) : setTimeout(go)));

async function drawAll() {
  const [text, plotly] = await Promise.all([unpacked("drawn"), unpacked("plotly")]);
  drawn = JSON.parse(text);
  const script = element("script", plotly);
  script.nonce = nonce;
  document.head.append(script);
  const first = plots.filter(isInSight);
  const soon = first.length ? first : plots.slice(0, 1);
  for (const plot of soon) await draw(plot);
  performance.mark("nas-interactive");
  for (const plot of plots) {
    if (plot.dataset.drawn) continue;
    await idle();
    await draw(plot);
  }
}

async function nasReport() {
  try {
    if (plots.length) await drawAll();
    else {
      drawn = JSON.parse(await unpacked("drawn"));
      performance.mark("nas-interactive");
    }
    root.dataset.ready = "yes";
  } catch (error) {
    const trouble = document.getElementById("trouble");
    trouble.textContent = `The plots cannot be drawn here (${error.message}); they need a browser of 2023 or later. All figures are in the table.`;
    trouble.hidden = false;
    root.dataset.ready = "failed";
    console.error(error);
  }
}

showTheme();
