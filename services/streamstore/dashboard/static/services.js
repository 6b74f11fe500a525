// The table of services: what runs, and the buttons that stop, start, kill and scale.

import { Sparkline } from "./charts.js";
import { byId, html, reconcile, setText, svg } from "./dom.js";
import { NONE, integer } from "./format.js";

const PATIENCE = 60_000; // ms: stopping waits for the service to finish what it has begun

/** Shows `state.services`; `changed()` is called when a button has done something. */
export function servicesTable(changed) {
  const body = byId("services");
  const rows = new Map();
  return (state) => {
    const create = ({ name }) => {
      const row = new Row(name, changed);
      rows.set(name, row);
      return row.element;
    };
    reconcile(body, state.services, ({ name }) => name, create, (_element, service) => {
      rows.get(service.name).show(service, state);
    });
  };
}

/** A service's name for people. */
export const title = (name) => name.replaceAll("_", " ");

const running = (instance) => instance.state !== "stopped";

class Row {
  #name;
  #changed;
  #busy = false;
  #wanted = 0;
  #parts = {};
  #spark;

  constructor(name, changed) {
    this.#name = name;
    this.#changed = changed;
    const label = title(name);
    const part = (key, element) => (this.#parts[key] = element);
    const spark = part("spark", svg("svg", { class: "spark" }));
    this.#spark = new Sparkline(spark, `Lag of ${label}, the last two minutes`);
    const cell = (heading, className, ...children) =>
      html("td", { role: "cell", className }, html("span", { className: "caption", ariaHidden: "true" }, heading), ...children);
    const button = (key, text, accessible, what) =>
      part(key, html("button", { type: "button", ariaLabel: accessible, onclick: () => this.#ask(key, what) }, text));
    this.element = html(
      "tr",
      { role: "row", id: `service-${name}` },
      html(
        "th",
        { role: "rowheader", scope: "row" },
        html("span", { className: "name" }, label),
        part("status", html("span", { className: "status" })),
      ),
      cell("Instances", "instances", part("instances", html("ul", { ariaLabel: `Instances of ${label}` }))),
      cell("Lag", "number lag", part("lag", html("span", { className: "value" })), spark),
      cell("Handled", "number handled", part("handled", html("span", { className: "value" }))),
      cell("Restarts", "number restarts", part("restarts", html("span", { className: "value" }))),
      html(
        "td",
        { role: "cell", className: "actions" },
        html(
          "div",
          { className: "buttons", role: "group", ariaLabel: `Actions on ${label}` },
          html(
            "span",
            { className: "stepper" },
            button("fewer", "−", `− one instance of ${label}`, () => `scale?instances=${this.#wanted - 1}`),
            part("count", html("span", { className: "count" })),
            button("more", "+", `+ one instance of ${label}`, () => `scale?instances=${this.#wanted + 1}`),
          ),
          button("kill", "Kill", `Kill one instance of ${label}`, () => "kill"),
          button("stop", "Stop", `Stop ${label}`, () => "stop"),
          button("start", "Start", `Start ${label}`, () => "start"),
        ),
        part("answer", html("p", { className: "answer", role: "status" })),
      ),
    );
    this.#parts.kill.title = "SIGKILL: it gets no chance to finish, and is started again";
  }

  show(service, state) {
    const parts = this.#parts;
    const alive = service.instances.filter((instance) => instance.up).length;
    this.#wanted = service.instances.filter(running).length;
    this.element.dataset.up = service.up;
    setText(parts.status, service.up ? "up" : this.#wanted ? "down" : "stopped");
    reconcile(parts.instances, service.instances, ({ id }) => id, instanceItem, fillInstance);
    const lag = state.architecture === "synchronous" ? null : service.lag;
    setText(parts.lag, integer(lag));
    this.#parts.spark.toggleAttribute("hidden", service.partitions.length === 0);
    this.#spark.add(state.time, lag);
    setText(parts.handled, integer(state.handled[this.#name]));
    setText(parts.restarts, integer(service.restarts));
    parts.restarts.classList.toggle("some", service.restarts > 0);
    setText(parts.count, service.up || this.#wanted ? `${alive}${alive === this.#wanted ? "" : `/${this.#wanted}`}` : NONE);
    this.#enable();
  }

  /** aria-disabled and not disabled: a disabled button would lose the keyboard's focus. */
  #enable() {
    const allowed = {
      fewer: this.#wanted > 1,
      more: this.#wanted > 0,
      kill: this.#wanted > 0,
      stop: this.#wanted > 0,
      start: this.#wanted === 0,
    };
    for (const [key, yes] of Object.entries(allowed)) {
      this.#parts[key].ariaDisabled = String(this.#busy || !yes);
    }
    this.element.ariaBusy = String(this.#busy);
  }

  async #ask(key, what) {
    if (this.#parts[key].ariaDisabled === "true") return;
    this.#busy = true;
    this.#enable();
    const words = this.#parts[key].ariaLabel;
    setText(this.#parts.answer, `${words} …`);
    this.#parts.answer.classList.remove("failed");
    try {
      await post(`/api/services/${this.#name}/${what()}`);
      setText(this.#parts.answer, "");
    } catch (error) {
      setText(this.#parts.answer, `${words}: ${error.message}`);
      this.#parts.answer.classList.add("failed");
    }
    await this.#changed(); // the row is enabled again with what the service is now
    this.#busy = false;
    this.#enable();
  }
}

function instanceItem() {
  return html("li", {}, html("span", { className: "id" }), html("span", { className: "pid" }), html("span", { className: "state" }));
}

function fillInstance(item, { id, pid, state }) {
  const [name, number, condition] = item.children;
  item.dataset.state = state;
  setText(name, id);
  setText(number, pid ? `pid ${pid}` : "");
  setText(condition, state);
}

/** Raises Error with the server's reason. */
export async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE),
  }).catch((error) => {
    throw new Error(error.name === "TimeoutError" ? "no answer" : "the dashboard's server does not answer");
  });
  if (!answer.ok) throw new Error(await reason(answer));
  return answer.json().catch(() => null);
}

async function reason(answer) {
  const detail = (await answer.json().catch(() => null))?.detail;
  if (Array.isArray(detail)) return detail.map(({ loc, msg }) => `${loc?.at(-1) ?? ""}: ${msg}`).join("; ");
  return detail || `${answer.status} ${answer.statusText}`;
}
