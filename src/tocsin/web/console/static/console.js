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
  for (const time of document.querySelectorAll("time.countdown")) {
    const left = Math.ceil((Date.parse(time.dateTime) - Date.now() - serverAhead) / 1000);
    time.title ||= time.textContent;
    const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].map(([unit, size], place, all) =>
      [unit, Math.floor((place ? left % all[place - 1][1] : left) / size)]);
    const first = parts.findIndex(([, many]) => many > 0);
    const text = left > 0 ? "in " + parts.slice(first, first + 2).map(([unit, many]) => `${many} ${unit}`).join(" ") : "now";
    if (time.textContent !== text) time.textContent = text;
  }
}

// ------------------------------------------------------------------------------------------------- following
const BACKUP_MILLISECONDS = 15000;
const AGAIN_MILLISECONDS = 1000;
let lastNews = Date.now();

function changed() {
  lastNews = Date.now();
  document.body.dispatchEvent(new CustomEvent("live"));
}

function follow(address) {
  const notice = document.getElementById("connection");
  let source;
  // The server says at once whether the page is older than what was recorded: at each opening, of what the page is by then.
  function listen() {
    const part = document.querySelector("[data-pulse]");
    source = new EventSource(part ? `${address}?pulse=${encodeURIComponent(part.dataset.pulse)}` : address);
    source.addEventListener("changed", changed);
    source.addEventListener("open", () => { notice.hidden = true; });
    source.addEventListener("error", () => {
      notice.hidden = false;
      // Closed already: refused, as by a server that has too many of them.
      setTimeout(listen, source.readyState === EventSource.CLOSED ? BACKUP_MILLISECONDS : AGAIN_MILLISECONDS);
      source.close();
    });
  }
  listen();
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

function restoreDrafts() {
  for (const field of document.querySelectorAll("[data-draft]")) {
    const key = draftKey(field);
    const kept = key && localStorage.getItem(key);
    if (!kept || field.value) continue;
    field.value = kept;
    const details = field.closest("details");
    if (details) details.open = true;
  }
}

function forgetDrafts(name) {
  for (const key of Object.keys(localStorage)) if (key.startsWith(`draft:${name}:`)) localStorage.removeItem(key);
}

function keepDrafts() {
  // A draft is forgotten when a page shows that it was sent: not when the form is, which may be lost on the way.
  const sent = sessionStorage.getItem("sent");
  sessionStorage.removeItem("sent");
  if (sent && !document.querySelector(".refusal")) forgetDrafts(sent);
  restoreDrafts();
  document.addEventListener("input", (event) => {
    const key = event.target.matches("[data-draft]") && draftKey(event.target);
    if (!key) return;
    if (event.target.value) localStorage.setItem(key, event.target.value);
    else localStorage.removeItem(key);
  });
}

// ------------------------------------------------------------------------------------------------- sending
const PATIENCE_MILLISECONDS = 5000;

function say(form, text) {
  const notice = form.querySelector(".unsent") ?? document.createElement("p");
  notice.className = "overtaken unsent";
  notice.setAttribute("role", "alert");
  notice.textContent = text;
  form.append(notice);
}

async function isThere() {
  try {
    return (await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MILLISECONDS) })).ok;
  } catch {
    return false;
  }
}

// A browser that finds nobody replaces the page by one of its own, and what was written with it. So look first.
function sendWithCare() {
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.draftOf) return;
    event.preventDefault();
    const button = event.submitter;
    if (button) button.disabled = true;
    const there = await isThere();
    if (button) button.disabled = false;
    if (!there) {
      say(form, "Not sent: the server cannot be reached. What you wrote is kept here, even if you close the page. Send it again when the connection is back.");
      return;
    }
    sessionStorage.setItem("sent", form.dataset.draftOf);
    form.submit();
  });
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "get") return;
    // An address without the fields that say nothing is one to keep and to send.
    for (const field of event.target.elements) if (field.name && !field.value) field.disabled = true;
  });
}

// ------------------------------------------------------------------------------------------------- somebody else was faster
function written(part) {
  return [...part.querySelectorAll("[data-draft]")].filter((field) => field.value && field.value !== field.defaultValue);
}

function overtake(part, by) {
  const notice = part.querySelector("[data-overtaken]");
  notice.querySelector("[data-overtaken-by]").textContent = by;
  notice.hidden = false;
  const form = part.querySelector("form");
  notice.querySelector("[data-drop]").onclick = () => { forgetDrafts(form.dataset.draftOf); location.reload(); };
  notice.querySelector("[data-as-note]").onclick = () => {
    const note = document.getElementById("text");
    note.value = [note.value, ...written(part).map((field) => field.value)].filter(Boolean).join("\n\n");
    note.dispatchEvent(new Event("input", { bubbles: true }));
    forgetDrafts(form.dataset.draftOf);
    sessionStorage.setItem("focus", "#text");
    location.reload();
  };
}

function watchTheStep() {
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const part = event.detail.target;
    if (part.id !== "next") return;
    const fresh = event.detail.fragment.querySelector("#next");
    // The form stays while it is the right one: nobody wants to be written to under their hands.
    const same = fresh.dataset.step === part.dataset.step;
    const overtaken = !same && written(part).length > 0;
    event.detail.shouldSwap = !same && !overtaken;
    if (overtaken) overtake(part, fresh.dataset.by);
  });
  const focus = sessionStorage.getItem("focus");
  sessionStorage.removeItem("focus");
  if (focus) focusIn(focus);
}

// ------------------------------------------------------------------------------------------------- forms that teach
const SHORT_CHARACTERS = 40;

function words(text) {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

function nudge(event) {
  const hint = document.querySelector(`[data-nudge="${CSS.escape(event.target.id)}"]`);
  if (!hint || (event.type === "input" && hint.hidden)) return;
  const said = words(event.target.value), title = new Set(words(hint.dataset.title));
  const repeats = said.length > 0 && said.every((word) => title.has(word));
  const short = said.length > 0 && event.target.value.trim().length < SHORT_CHARACTERS;
  hint.textContent = repeats ? hint.dataset.repeats : short ? hint.dataset.short : "";
  hint.hidden = !hint.textContent;
}

// ------------------------------------------------------------------------------------------------- choosing several
function tellChosen() {
  const told = document.getElementById("chosen");
  if (!told || !document.querySelector(".pick")) return;
  const many = document.querySelectorAll('.pick :checked').length;
  told.textContent = many === 0 ? "the chosen ones" : many === 1 ? "the chosen one" : `the ${many} chosen ones`;
}

// ------------------------------------------------------------------------------------------------- keys
const GO = { h: "/", i: "/incidents", o: "/oncall" };
let going = false;

function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (rows.length === 0) return;
  const here = document.activeElement.closest("li")?.querySelector("[data-row]") ?? document.activeElement;
  const at = rows.indexOf(here);
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
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), textarea, select")) return;
    const wasGoing = going;
    going = false;
    if (wasGoing && GO[event.key]) location.assign(GO[event.key]);
    else if (event.key === "g") going = true;
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "a") { focusIn("#next-step textarea, #next-step input:not([type=hidden]), #bulk textarea"); event.preventDefault(); }
    else if (event.key === "x") { document.activeElement.closest("li")?.querySelector(".pick input")?.click(); }
    else if (event.key === "/") { focusIn("#search"); event.preventDefault(); }
    else if (event.key === "n") { focusIn("#text"); event.preventDefault(); }
    else if (event.key === "?") dialog.showModal();
  });
}

// A part of the page that is exchanged must take neither the focus nor what was chosen with it.
let focused = null;
let chosen = [];

function placeOf(element) {
  if (element.hasAttribute("href")) return `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
  return element.matches(".pick input") ? `.pick input[value="${CSS.escape(element.value)}"]` : null;
}

document.addEventListener("htmx:beforeSwap", (event) => {
  focused = event.detail.target.contains(document.activeElement) ? placeOf(document.activeElement) : null;
  chosen = [...event.detail.target.querySelectorAll(".pick :checked")].map((box) => box.value);
});
document.addEventListener("htmx:afterSettle", () => {
  // Who has gone on meanwhile is not called back: what they type would go elsewhere.
  if (focused && document.activeElement === document.body) document.querySelector(focused)?.focus({ preventScroll: true });
  for (const box of document.querySelectorAll(".pick input")) box.checked ||= chosen.includes(box.value);
  focused = null;
  restoreDrafts();
  tellChosen();
  tellTimes();
});

tellTimes();
setInterval(tellTimes, 1000);
keepDrafts();
sendWithCare();
document.addEventListener("change", nudge);
document.addEventListener("input", nudge);
document.addEventListener("change", tellChosen);
watchTheStep();
tellChosen();
if (document.body.dataset.live) {
  follow(document.body.dataset.live);
  takeKeys();
}
