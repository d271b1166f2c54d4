// Draws the charts of /learning from the numbers that stand in its tables too. The page is whole without it.
"use strict";

const HEIGHT = 220;
const numbers = JSON.parse(document.getElementById("numbers").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = [];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function lasting(minutes) {
  if (minutes >= 2880) return `${Math.round(minutes / 1440)} d`;
  if (minutes >= 120) return `${Math.round(minutes / 60)} h`;
  return minutes >= 1 ? `${Math.round(minutes)} min` : `${Math.round(minutes * 60)} s`;
}

function axes(values) {
  const common = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
  const days = (_, ticks) => ticks.map((at) => new Date(at * 1000).toISOString().slice(0, 10));
  return [{ ...common, space: 100, values: days }, { ...common, size: 70, values }];
}

function draw(place, series, values, bars) {
  const paths = bars ? uPlot.paths.bars({ size: [0.6, 60] }) : undefined;
  const options = {
    width: place.clientWidth, height: HEIGHT, axes: axes((_, ticks) => ticks.map(values)),
    scales: { x: { time: true }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    series: [{ label: "Week of", value: (_, at) => at === null ? "" : new Date(at * 1000).toISOString().slice(0, 10) },
      ...series.map(({ label, stroke, dash, fill }) => ({
        label, dash, fill, stroke, width: 2, paths, spanGaps: true, points: { show: !bars },
        value: (_, value) => value === null ? "" : values(value),
      }))],
  };
  const weeks = numbers.weeks.map((week) => Date.parse(`${week}T00:00:00Z`) / 1000);
  place.replaceChildren();
  drawn.push([place, new uPlot(options, [weeks, ...series.map((one) => one.data)], place)]);
}

function durations(name) {
  const place = document.getElementById(`${name}-chart`);
  if (!place) return;
  const { median, p90 } = numbers[name];
  draw(place, [
    { label: "Median", stroke: colour("link"), data: median },
    { label: "90 %", stroke: colour("high"), dash: [6, 4], data: p90 },
  ], lasting, false);
}

// One bar on the other: each series is drawn with the sum of those after it, the largest first.
function causes() {
  const place = document.getElementById("causes-chart");
  const names = Object.keys(numbers.causes);
  if (!place || !names.length) return;
  const colours = ["link", "high", "good", "critical", "medium", "quiet"].map(colour);
  const series = names.map((label, index) => ({
    label, stroke: colours[index % colours.length], fill: colours[index % colours.length],
    data: numbers.weeks.map((_, week) => names.slice(index).reduce((sum, name) => sum + numbers.causes[name][week], 0)),
  }));
  draw(place, series, (value) => Number.isInteger(value) ? String(value) : "", true);
}

function drawAll() {
  for (const [, chart] of drawn.splice(0)) chart.destroy();
  durations("acknowledged");
  durations("resolved");
  causes();
}

drawAll();
dark.addEventListener("change", drawAll);
window.addEventListener("resize", () => {
  for (const [place, chart] of drawn) chart.setSize({ width: place.clientWidth, height: HEIGHT });
});
