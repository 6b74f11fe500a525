// Asks for the state of the shop every second and hands it to the parts of the page.

import { Sparkline } from "./charts.js";
import { chatPanel } from "./chat.js";
import { couriersMap } from "./couriers.js";
import { byId, html, setText } from "./dom.js";
import { NONE, age, clock, integer, money, rate } from "./format.js";
import { partitionsMatrix } from "./partitions.js";
import { invoicesList, revenueCharts } from "./revenue.js";
import { servicesTable } from "./services.js";

const EVERY = 1000; // ms from the beginning of a request to that of the next
const PATIENCE = 4000; // ms for one answer
const STALE = 5000; // ms without news until the figures are marked as old

const show = [keyFigures(), servicesTable(refresh), partitionsMatrix(), couriersMap(), revenueCharts(), invoicesList()];

let current = null; // the latest state
let seen = performance.now(); // when it came: by this page's clock, which the server's need not agree with
let problem = "";
let asking = null; // the request under way: there is never more than one

/** Asks now, after the request under way. */
async function refresh() {
  await asking;
  return ask();
}

function ask() {
  asking ??= fetchState().finally(() => (asking = null));
  return asking;
}

async function fetchState() {
  const state = await answer();
  if (state) {
    for (const part of show) part(state);
    current = state;
    seen = performance.now();
  }
  connection();
}

/** The state, or null when it could not be had; `problem` then says why. */
async function answer() {
  try {
    const response = await fetch("/api/state", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    const state = await response.json();
    problem = "";
    return state;
  } catch (error) {
    problem = error.name === "TimeoutError" ? "it takes too long" : error.message;
    return null;
  }
}

async function poll() {
  while (!document.hidden) {
    const begun = performance.now();
    await ask();
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, begun + EVERY - performance.now())));
  }
  document.addEventListener("visibilitychange", poll, { once: true });
}

/** Says whether the figures are live; the words that screen readers announce change with the state only. */
function connection() {
  const silent = performance.now() - seen;
  const stale = silent > STALE;
  const state = stale ? "stale" : current ? "live" : "connecting";
  document.body.dataset.connection = state;
  setText(byId("connection"), stale ? "no answer" : state);
  setText(byId("as-of"), stale ? `for ${age(silent / 1000)}` : current ? clock(current.time) : "");
  const banner = byId("stale");
  banner.hidden = !stale;
  setText(byId("stale-since"), `The dashboard's server has not answered for ${age(silent / 1000)}${problem && ` (${problem})`}.`);
  setText(byId("stale-what"), current ? `Everything below is as it was at ${clock(current.time)}.` : "There is nothing to show yet.");
}

function keyFigures() {
  const spark = new Sparkline(byId("orders-spark"), "Orders per second, the last two minutes");
  return (state) => {
    const events = state.architecture === "events";
    chip("backend", state.backend, "backend");
    chip("architecture", events ? "event-driven" : "synchronous", "architecture");
    setText(byId("orders-accepted"), integer(state.orders.accepted));
    setText(byId("orders-note"), events ? "in the event log" : "by all services");
    setText(byId("orders-rate"), rate(state.orders.per_second));
    spark.add(state.time, state.orders.per_second);
    const lags = state.services.filter(({ lag, partitions }) => lag != null || partitions.length);
    const known = lags.every(({ lag }) => lag != null) && lags.length > 0;
    setText(byId("lag-total"), events && known ? integer(lags.reduce((total, { lag }) => total + lag, 0)) : NONE);
    setText(byId("lag-note"), !events ? "none: nothing waits in a log" : known ? "records still to be handled" : "not known");
    setText(byId("revenue-total"), money(state.revenue.total));
    setText(byId("dead-letters"), integer(state.dead_letters));
    byId("dead-letters").classList.toggle("some", state.dead_letters > 0);
    setText(byId("dead-letters-note"), state.dead_letters > 0 ? "streamstore dead-letters list" : "no event was set aside");
    errors(state.errors);
  };
}

function chip(id, text, what) {
  const element = byId(id);
  setText(element, text);
  element.title = what;
  element.hidden = false;
}

/** The list is announced, so it changes only with its words. */
function errors(lines) {
  const list = byId("errors");
  list.hidden = lines.length === 0;
  if ([...list.children].map(({ textContent }) => textContent).join("\n") === lines.join("\n")) return;
  list.replaceChildren(...lines.map((line) => html("li", {}, line)));
}

setInterval(connection, 500);
chatPanel();
poll();
