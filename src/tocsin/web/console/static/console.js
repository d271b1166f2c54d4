// What a page can do beyond standing there: follow what happens, tell how long ago it was, keep drafts, take keys.
// Every page works without it.
"use strict";

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

// The server's clock counts, not the laptop's.
const serverAhead = Date.parse(document.body.dataset.now) - Date.now();

function tellTimes() {
  for (const time of document.querySelectorAll("time.moment")) {
    const seconds = (Date.parse(time.dateTime) - Date.now() - serverAhead) / 1000;
    const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS[3];
    time.title ||= time.textContent;
    const text = relative.format(Math.trunc(seconds / size), unit);
    if (time.textContent !== text) time.textContent = text;
  }
}

// ------------------------------------------------------------------------------------------------- following
const BACKUP_MILLISECONDS = 15000;
let lastNews = Date.now();

function changed() {
  lastNews = Date.now();
  document.body.dispatchEvent(new CustomEvent("live"));
}

function follow(address) {
  const notice = document.getElementById("connection");
  const source = new EventSource(address);
  source.addEventListener("changed", changed);
  source.addEventListener("open", () => {
    if (!notice.hidden) changed();
    notice.hidden = true;
  });
  source.addEventListener("error", () => { notice.hidden = false; });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) changed(); });
  window.addEventListener("online", changed);
  // Should the stream be silent for whatever reason, the page still looks from time to time; timers jump after sleep.
  setInterval(() => { if (!document.hidden && Date.now() - lastNews > BACKUP_MILLISECONDS) changed(); }, 1000);
  window.addEventListener("pagehide", () => source.close());
}

// ------------------------------------------------------------------------------------------------- drafts
function draftKey(field) {
  const form = field.closest("form[data-draft-of]");
  if (!form) return null;
  const same = [...form.elements].filter((other) => other.name === field.name);
  return `draft:${form.dataset.draftOf}:${field.name}:${same.indexOf(field)}`;
}

function keepDrafts() {
  for (const field of document.querySelectorAll("[data-draft]")) {
    const key = draftKey(field);
    const kept = key && localStorage.getItem(key);
    if (kept && !field.value) field.value = kept;
  }
  document.addEventListener("input", (event) => {
    const key = event.target.matches("[data-draft]") && draftKey(event.target);
    if (!key) return;
    if (event.target.value) localStorage.setItem(key, event.target.value);
    else localStorage.removeItem(key);
  });
  // A draft is forgotten when a page shows that it was sent: not when the form is, which may be lost on the way.
  const sent = sessionStorage.getItem("sent");
  if (sent && !document.querySelector(".refusal")) {
    for (const key of Object.keys(localStorage)) if (key.startsWith(`draft:${sent}:`)) localStorage.removeItem(key);
    for (const field of document.querySelectorAll(`form[data-draft-of="${CSS.escape(sent)}"] [data-draft]`)) field.value = field.defaultValue;
  }
  sessionStorage.removeItem("sent");
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.draftOf) sessionStorage.setItem("sent", event.target.dataset.draftOf);
  });
}

// ------------------------------------------------------------------------------------------------- keys
const GO = { h: "/", i: "/incidents", o: "/oncall" };
let going = false;

function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (rows.length === 0) return;
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(Math.max(at + by, 0), rows.length - 1)].focus();
}

function focusIn(selector) {
  const part = document.querySelector(selector);
  if (!part) return;
  const details = part.closest("details");
  if (details) details.open = true;
  part.focus();
}

function takeKeys() {
  const dialog = document.getElementById("keys");
  const button = document.querySelector("[data-keys]");
  button.hidden = false;
  button.addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    const wasGoing = going;
    going = false;
    if (wasGoing && GO[event.key]) location.assign(GO[event.key]);
    else if (event.key === "g") going = true;
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "a") { focusIn("#next-step textarea, #next-step input:not([type=hidden])"); event.preventDefault(); }
    else if (event.key === "n") { focusIn("#text"); event.preventDefault(); }
    else if (event.key === "?") dialog.showModal();
  });
}

// A part of the page that is exchanged must not take the focus with it.
let focused = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  focused = event.detail.target.contains(document.activeElement) && document.activeElement.getAttribute("href");
});
document.addEventListener("htmx:afterSettle", () => {
  if (focused) document.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  focused = null;
  tellTimes();
});

tellTimes();
setInterval(tellTimes, 1000);
keepDrafts();
if (document.body.dataset.live) {
  follow(document.body.dataset.live);
  takeKeys();
}
