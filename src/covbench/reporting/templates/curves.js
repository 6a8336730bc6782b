"use strict";

// Learning curves, one line per seed: training dashed, validation solid. The legend shows the values at the pointer.
(function showCurves() {
  const curves = JSON.parse(document.getElementById("curves").textContent);
  const boxes = [...document.querySelectorAll(".curve")];
  let drawn = [];

  function readColour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function markFineTuning(plot) {
    if (curves.fine_tune === null) return;
    const { ctx: canvas, bbox } = plot;
    const x = plot.valToPos(curves.fine_tune - 0.5, "x", true);
    canvas.save();
    canvas.strokeStyle = readColour("--soft");
    canvas.setLineDash([2, 4]);
    canvas.beginPath();
    canvas.moveTo(x, bbox.top);
    canvas.lineTo(x, bbox.top + bbox.height);
    canvas.stroke();
    canvas.restore();
  }

  function draw(box) {
    const panel = curves.panels[Number(box.dataset.panel)];
    const axis = { stroke: readColour("--ink"), grid: { stroke: readColour("--line"), width: 1 }, ticks: { stroke: readColour("--line"), width: 1 } };
    const lines = panel.lines.map((line) => ({
      label: line.label,
      stroke: readColour(line.training ? "--training" : "--mark"),
      dash: line.training ? [5, 3] : undefined,
      width: 1.5,
      points: { show: curves.epochs.length < 2 },
      value: (plot, value) => (value === null ? "–" : value.toFixed(3)),
    }));
    const options = {
      width: Math.max(box.clientWidth, 240),
      height: 240,
      scales: { x: { time: false }, y: { range: [0, panel.highest] } },
      axes: [{ ...axis, label: "epoch", incrs: [1, 2, 5, 10, 20, 50] }, { ...axis, label: panel.word }],
      series: [{ label: "epoch" }, ...lines],
      hooks: { draw: [markFineTuning] },
    };
    return new uPlot(options, [curves.epochs, ...panel.lines.map((line) => line.values)], box);
  }

  function drawAll() {
    drawn.forEach((plot) => plot.destroy());
    drawn = boxes.map(draw);
  }

  drawAll();
  document.getElementById("theme").addEventListener("click", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("resize", () => drawn.forEach((plot, number) => plot.setSize({ width: Math.max(boxes[number].clientWidth, 240), height: 240 })));
})();
