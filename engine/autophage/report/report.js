// Draws the panels, colours them from the page's CSS variables, and switches arms on and off in all of them at once.
// Reads one JSON element; fetches nothing.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const hidden = new Set();
  const drawn = new Map();
  const coloured = new Set(["color", "fillcolor"]);

  const variable = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const paint = (token) => {
    const [name, share] = token.split(":");
    const hex = variable(name);
    if (!share) return hex;
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${r},${g},${b},${share})`;
  };
  // Replaces "--name" and "--name:share" where plotly expects a colour; every other text stays as it is.
  const resolve = (value, key) => {
    if (Array.isArray(value)) return value.map((item) => resolve(item, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, resolve(item, name)]));
    }
    return coloured.has(key) && typeof value === "string" && value.startsWith("--") ? paint(value) : value;
  };

  const axis = (own) => ({
    gridcolor: variable("--grid"), zeroline: false, linecolor: variable("--line"), tickcolor: variable("--line"),
    ticks: "", automargin: true, fixedrange: true, nticks: 6, ...own,
    title: { ...(own?.title ?? { text: "" }), font: { size: 12, color: variable("--soft") }, standoff: 8 },
  });
  const layout = (own) => ({
    ...own,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: variable("--line"), activecolor: variable("--soft") },
    xaxis: { ...axis(own.xaxis), showgrid: false, showline: true },
    yaxis: axis(own.yaxis),
    margin: { l: 44, r: 14, t: 8, b: 40 }, showlegend: false, dragmode: false,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: variable("--soft") },
    hoverlabel: {
      bgcolor: variable("--card"), bordercolor: variable("--line"), align: "left",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: variable("--ink") },
    },
  });
  const config = {
    responsive: true, displaylogo: false, displayModeBar: true, scrollZoom: false, modeBarButtons: [["toImage"]],
    toImageButtonOptions: { format: "svg", filename: "autophage" },
  };

  const draw = (element) => {
    const { data, layout: own } = figures[element.dataset.figure][Number(element.dataset.panel)];
    const traces = data.map((trace) => ({ ...resolve(trace), visible: !hidden.has(trace.meta) }));
    const paper = "print" in root.dataset ? { width: element.clientWidth, height: element.clientHeight } : {};
    Plotly.react(element, traces, { ...layout(own), ...paper }, config);
    drawn.set(element, data);
  };
  const drawAll = () => document.querySelectorAll(".plot").forEach((element) => {
    if (element.offsetParent !== null) draw(element); // a closed group has no width to draw in
  });

  document.querySelectorAll("details").forEach((details) => details.addEventListener("toggle", () => {
    if (details.open) details.querySelectorAll(".plot").forEach((element) => drawn.has(element) || draw(element));
  }));
  document.querySelectorAll(".legend button").forEach((button) => button.addEventListener("click", () => {
    const arm = button.dataset.arm;
    if (!hidden.delete(arm)) hidden.add(arm);
    button.setAttribute("aria-pressed", String(!hidden.has(arm)));
    for (const [element, data] of drawn) {
      Plotly.restyle(element, { visible: data.map((trace) => !hidden.has(trace.meta)) });
    }
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => { root.dataset.print = ""; drawAll(); });
  addEventListener("afterprint", () => { delete root.dataset.print; drawAll(); });
  drawAll();
})();
