"use strict";
// What every page of ours does: two themes, and plots that are drawn once the packed rest of the page
// has been read, those in sight first, the others when nothing else is to do. A page's own script
// follows in the same element and ends with `showTheme()`; `nasReport` is called last of all.
const root = document.documentElement;
const nonce = document.currentScript.nonce; // by which the page lets plotly run
const themes = JSON.parse(document.getElementById("themes").textContent);
const figures = {}; // by name, once they are unpacked
let printing = false; // on paper, which is light
let showPoint = () => {}; // what a click on a point does: its number, and the plot

function element(name, text, more = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return Object.assign(made, more);
}

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

// ---- plots -------------------------------------------------------------------------------------
const plots = Array.from(document.querySelectorAll(".plot"));
// Named one by one: plotly's own choice has a button that would send a chart to its makers.
const OPTIONS = {
  displaylogo: false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};
const ROOM = 560; // pixels of width below which plotly's buttons would stand on the legend

// A colour goes by its name, `@point`; what may follow is how opaque it is, `@point~40`, 00 to ff.
function colourOf(text, colours) {
  const [name, opaque = ""] = text.slice(1).split("~");
  return name in colours ? colours[name] + opaque : text;
}

function coloured(plain, colours) {
  if (typeof plain === "string") return plain[0] === "@" ? colourOf(plain, colours) : plain;
  if (Array.isArray(plain)) return plain.length && typeof plain[0] === "number" ? plain : plain.map((one) => coloured(one, colours));
  if (plain === null || typeof plain !== "object") return plain;
  return Object.fromEntries(Object.entries(plain).map(([name, one]) => [name, coloured(one, colours)]));
}

// Columns of numbers and texts need no colours, and there are many.
const DATA = new Set(["x", "y", "text", "customdata"]);

function figure(name, colours) {
  const found = figures[name];
  const data = found.data.map((trace) =>
    Object.fromEntries(Object.entries(trace).map(([key, one]) => [key, DATA.has(key) ? one : coloured(one, colours)])),
  );
  return { data, layout: coloured(found.layout, colours) };
}

function draw(plot) {
  const { data, layout } = figure(plot.dataset.plot, themes[printing ? "light" : theme()]);
  const isNew = !plot.dataset.drawn;
  plot.dataset.drawn = "yes";
  const displayModeBar = bar(plot);
  plot.dataset.bar = displayModeBar;
  const done = Plotly.react(plot, data, layout, { ...OPTIONS, displayModeBar });
  if (isNew) {
    rooms.observe(plot);
    plot.on("plotly_click", ({ points }) => {
      const place = points[0].customdata;
      const at = Array.isArray(place) ? place[0] : place;
      if (typeof at === "number") showPoint(at, plot);
    });
  }
  return done;
}

function bar(plot) {
  return plot.clientWidth < ROOM ? false : "hover";
}

// Plotly looks at the window alone; a plot's room changes with what stands around it, too.
const rooms = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    if (!target.dataset.drawn || !target._fullLayout) continue;
    if (target.dataset.bar === String(bar(target))) Plotly.Plots.resize(target);
    else draw(target); // its buttons come or go
  }
});

function redraw() {
  for (const plot of plots) if (plot.dataset.drawn) draw(plot);
}

addEventListener("beforeprint", () => {
  printing = true;
  if (!window.Plotly) return;
  for (const plot of plots) if (figures[plot.dataset.plot]) draw(plot);
});
addEventListener("afterprint", () => {
  printing = false;
  redraw();
});

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64); // of 2025; the loop takes longer
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

async function unpacked(id) {
  const packed = new Response(bytesOf(document.getElementById(id).textContent));
  return new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).text();
}

function isInSight(plot) {
  const { top, bottom } = plot.getBoundingClientRect();
  return top < innerHeight && bottom > 0;
}

const idle = () => new Promise((go) => (window.requestIdleCallback ? requestIdleCallback(go, { timeout: 100 }) : setTimeout(go)));

async function read(plot) {
  figures[plot.dataset.plot] ??= JSON.parse(await unpacked(`figure-${plot.dataset.plot}`));
}
async function drawAll() {
  const first = plots.filter(isInSight);
  const soon = first.length ? first : plots.slice(0, 1);
  const [plotly] = await Promise.all([unpacked("plotly"), ...soon.map(read)]);
  const script = element("script", plotly);
  script.nonce = nonce;
  document.head.append(script);
  for (const plot of soon) await draw(plot);
  performance.mark("nas-interactive");
  for (const plot of plots) {
    if (plot.dataset.drawn) continue;
    await idle();
    await read(plot);
    await draw(plot);
  }
}

async function nasReport() {
  try {
    if (plots.length) await drawAll();
    else performance.mark("nas-interactive");
    for (const one of document.querySelectorAll(".later")) one.classList.remove("later");
    performance.mark("nas-drawn");
    root.dataset.ready = "yes";
  } catch (error) {
    const trouble = document.getElementById("trouble");
    trouble.textContent = `The plots cannot be drawn here (${error.message}); they need a browser of 2023 or later. All figures are in the table.`;
    trouble.hidden = false;
    root.dataset.ready = "failed";
    console.error(error);
  }
}
