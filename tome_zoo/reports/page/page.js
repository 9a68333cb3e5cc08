"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = document.documentElement;
  root.classList.add("js");
  for (const element of all(".control, #theme")) element.hidden = false;

  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const dark = (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
    theme.setAttribute("aria-pressed", String(dark));
  };
  theme.addEventListener("click", () => {
    root.dataset.theme = theme.getAttribute("aria-pressed") === "true" ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();

  for (const sample of all("[data-sample]")) {
    const slider = sample.querySelector("input[type=range]");
    const output = sample.querySelector("output");
    const pictures = all("img.step", sample);
    const texts = all("div.step", sample);
    const move = () => {
      const now = Number(slider.value);
      for (const steps of [pictures, texts]) steps.forEach((step, index) => step.classList.toggle("on", index === now));
      output.textContent = texts[now].dataset.r;
      slider.setAttribute("aria-valuetext", `r = ${texts[now].dataset.r}`);
    };
    slider.addEventListener("input", move);
    move();
  }

  for (const select of all("[data-against]")) {
    const blocks = all(".against").filter((block) => block.dataset.group === select.dataset.against);
    const choose = () => blocks.forEach((block) => block.classList.toggle("on", block.dataset.r === select.value));
    select.addEventListener("change", choose);
    choose();
  }

  for (const chart of all(".chart")) {
    const rows = all("table.results tbody tr", chart.closest("section"));
    const points = rows.map((_, index) => document.getElementById(`${chart.dataset.chart}-point-${index}`));
    const readout = chart.querySelector(".readout");
    let now = -1;
    const tell = (index) => {
      now = index;
      points.forEach((point, other) => point.classList.toggle("on", other === index));
      rows.forEach((row, other) => row.classList.toggle("on", other === index));
      readout.textContent = rows[index].dataset.readout;
    };
    points.forEach((point, index) => {
      point.classList.add("point");
      for (const event of ["pointerenter", "click"]) point.addEventListener(event, () => tell(index));
    });
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      tell(Math.min(points.length - 1, Math.max(0, now + step)));
    });
  }
})();
