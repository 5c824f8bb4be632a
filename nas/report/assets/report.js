// The report's own part: table, filter, copying and the shape of a candidate need only the facts, so
// that they answer before the plots are there.
const facts = JSON.parse(document.getElementById("facts").textContent);
const candidates = facts.candidates;
const columns = facts.columns;

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

let reading = null; // of all shapes' drawings, when the first one is looked at
function shapes() {
  reading ??= unpacked("shapes").then(JSON.parse, () => ({})); // an old browser: see `trouble`
  return reading;
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

async function show(at, from) {
  const one = candidates[at];
  if (!one) return;
  const drawings = await shapes();
  openedFrom = from;
  const close = element("button", "Close", { type: "button", className: "close" });
  close.addEventListener("click", hide);
  const head = element("div", undefined, { className: "panel-head" });
  head.append(element("h2", `${nameOf(one)} ${one.shape}`), close);
  const drawing = element("div");
  drawing.innerHTML = drawings[one.architecture] ?? ""; // drawn and escaped by us
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
showPoint = async (at, plot) => {
  if (rows[at].hidden) {
    filter.value = "";
    applyFilter();
  }
  await show(at, plot);
  rows[at].scrollIntoView({ block: "center" });
};

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

showTheme();
