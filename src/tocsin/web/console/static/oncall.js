// The calendar of a schedule: hours are chosen by dragging or with Shift and the arrow keys, and fill in the form.
"use strict";

const grid = document.querySelector("[data-grid]");
const form = document.getElementById("override");

if (grid && form) {
  const HOURS = 24;
  const days = [...grid.tBodies[0].rows];
  const cells = days.flatMap((row) => [...row.cells].slice(1));
  const chosen = document.getElementById("chosen");
  let anchor = 0;
  let at = Math.max(cells.findIndex((cell) => cell.classList.contains("now")), 0);
  let dragging = false;

  document.querySelector("[data-script]").hidden = false;
  grid.setAttribute("aria-multiselectable", "true");
  cells.forEach((cell) => { cell.tabIndex = -1; });
  cells[at].tabIndex = 0;
  anchor = at;

  // What the clock of the schedule shows when an hour begins; the browser's own time zone has no say in it.
  function wall(index) {
    const day = new Date(`${days[0].dataset.day}T00:00Z`);
    day.setUTCHours(index);
    return day.toISOString().slice(0, 16);
  }

  function range() { return [Math.min(anchor, at), Math.max(anchor, at)]; }

  function show() {
    const [first, last] = range();
    cells.forEach((cell, index) => {
      const inside = index >= first && index <= last;
      cell.classList.toggle("chosen", inside);
      cell.setAttribute("aria-selected", inside);
    });
    chosen.textContent = `${wall(first).replace("T", " ")} to ${wall(last + 1).replace("T", " ")}`;
  }

  function go(index, extend) {
    if (index < 0 || index >= cells.length) return;
    cells[at].tabIndex = -1;
    at = index;
    cells[at].tabIndex = 0;
    if (!extend) anchor = at;
    cells[at].focus({ preventScroll: dragging });
    show();
  }

  function fill() {
    const [first, last] = range();
    document.getElementById("override-from").value = wall(first);
    document.getElementById("override-until").value = wall(last + 1);
    form.open = true;
    document.getElementById("override-user").focus();
  }

  grid.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const column = at % HOURS;
    const to = {
      ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - HOURS, ArrowDown: at + HOURS,
      Home: at - column, End: at - column + HOURS - 1,
    }[event.key];
    if (to !== undefined) go(to, event.shiftKey);
    else if (event.key === "Enter") fill();
    else if (event.key === "Escape") go(at, false);
    else return;
    event.preventDefault();
  });

  grid.addEventListener("pointerdown", (event) => {
    const index = cells.indexOf(event.target.closest("td"));
    if (index < 0 || event.button !== 0) return;
    event.preventDefault();
    dragging = true;
    go(index, event.shiftKey);
  });
  grid.addEventListener("pointerover", (event) => {
    const index = dragging ? cells.indexOf(event.target.closest("td")) : -1;
    if (index >= 0) go(index, true);
  });
  document.addEventListener("pointerup", () => {
    if (!dragging) return;
    dragging = false;
    fill();
  });
  document.addEventListener("pointercancel", () => { dragging = false; });
}
