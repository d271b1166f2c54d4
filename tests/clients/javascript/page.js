// What page.html does. When it is done it tells the server that it came from, and the test goes on.
import * as Sentry from "@sentry/browser";

const FLUSH_MILLISECONDS = 10_000;
const asked = new URLSearchParams(location.search);

function tellTest(outcome) {
  return fetch("/done", { method: "POST", body: JSON.stringify(outcome) });
}

function readCart() {
  throw new RangeError("the cart is empty");
}

function checkOut() {
  try {
    readCart();
  } catch (error) {
    throw new Error("cannot check out", { cause: error });
  }
}

async function flushed() {
  await tellTest({ flushed: await Sentry.flush(FLUSH_MILLISECONDS) });
}

const ways = {
  async captured() {
    try {
      checkOut();
    } catch (error) {
      Sentry.captureException(error);
    }
    Sentry.captureMessage("the shop window is dark", "warning");
    await flushed();
  },
  // The browser runs a timer of its own: nobody catches this but window.onerror.
  uncaught() {
    addEventListener("error", () => setTimeout(flushed));
    setTimeout(function payNow() {
      throw new TypeError("the card is not a card");
    });
  },
  rejected() {
    addEventListener("unhandledrejection", () => setTimeout(flushed));
    Promise.reject(new URIError("no way to the bank"));
  },
  // The page is left while its report is on its way; the next page tells the test.
  left() {
    Sentry.captureException(new Error("leaving already"));
    location.assign("/away.html");
  },
  // What beforeSend drops is said to the server when the page is hidden, which leaving it does.
  async dropped() {
    Sentry.captureMessage("boring");
    await Sentry.flush(FLUSH_MILLISECONDS);
    location.assign("/away.html");
  },
  // What the SDK does not show: whether the page's script may read the answer.
  async refused() {
    const place = new URL(asked.get("dsn"));
    const url = `${place.origin}/api${place.pathname}/envelope/?sentry_key=wrong`;
    const answer = await fetch(url, { method: "POST", body: "{}\n" });
    await tellTest({ status: answer.status });
  },
};

Sentry.init({
  dsn: asked.get("dsn"),
  release: "shop@1.2.3",
  beforeSend: (event) => (event.message === "boring" ? null : event),
});
await ways[asked.get("way")]();
