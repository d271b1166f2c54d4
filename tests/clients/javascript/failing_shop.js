// A program that fails in one of the ways its SDK knows to report: `node failing_shop.js DSN WAY`.
import process from "node:process";

import * as Sentry from "@sentry/node";

const FLUSH_MILLISECONDS = 10_000;
const [dsn, way] = process.argv.slice(2);

function findOrder(number) {
  throw new RangeError(`no such order ${number}`);
}

function payOrder(number) {
  try {
    findOrder(number);
  } catch (error) {
    throw new Error(`cannot pay order ${number}`, { cause: error });
  }
}

function bake() {
  throw new Error("the oven is on fire");
}

const ways = {
  // Reported by hand, sent by the flush; process.exit ends the program while connections are still open.
  async captured() {
    Sentry.setTag("shop", "berlin");
    try {
      payOrder(17);
    } catch (error) {
      Sentry.captureException(error);
    }
    Sentry.captureMessage("the till is nearly empty", "warning");
    Sentry.captureMessage("the shop burns", "fatal");
    const sent = await Sentry.flush(FLUSH_MILLISECONDS);
    process.exit(sent ? 0 : 70);
  },
  // More than 32 KiB, and nothing that the SDK would cut.
  async large() {
    const receipts = Array.from({ length: 900 }, (_, number) => `receipt ${number}: ${"paid in coins ".repeat(4)}`);
    Sentry.captureException(new Error("the ledger is full"), { extra: Object.fromEntries(receipts.entries()) });
    process.exit((await Sentry.flush(FLUSH_MILLISECONDS)) ? 0 : 70);
  },
  uncaught() {
    setImmediate(bake);
  },
  uncaught_chain() {
    setImmediate(() => payOrder(4711));
  },
  rejected() {
    Promise.reject(new TypeError("the card reader said nothing"));
  },
  // What beforeSend drops is lost on purpose, and said so: the SDK sends a client report when the program ends by itself.
  dropped() {
    Sentry.captureMessage("boring");
    Sentry.captureMessage("boring");
  },
};

Sentry.init({
  dsn,
  release: "shop@1.2.3",
  environment: "production",
  normalizeMaxBreadth: 1_000,
  beforeSend: (event) => (event.message === "boring" ? null : event),
});
await ways[way]();
