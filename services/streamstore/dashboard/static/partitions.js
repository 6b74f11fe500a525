// Who owns which partition: a table for each topic, a row for each service that reads it.

import { byId, html, reconcile, setText } from "./dom.js";
import { integer } from "./format.js";
import { title } from "./services.js";

const COLOURS = 6; // as many as style.css has

/** Shows the partitions of `state.services`. */
export function partitionsMatrix() {
  const parent = byId("partitions");
  const none = byId("partitions-none");
  return (state) => {
    const topics = byTopic(state.services);
    none.hidden = topics.length > 0;
    setText(
      none,
      state.architecture === "synchronous"
        ? "There are no partitions and there is no lag in the synchronous architecture: services call each other " +
            "over HTTP, and the customer waits for all of them."
        : "Not known yet.",
    );
    reconcile(parent, topics, ({ topic, count }) => `${topic} ${count}`, table, (element, { rows, count }) => {
      reconcile(element.tBodies[0], rows, ({ name }) => name, (row) => tableRow(row, count), fillRow);
    });
  };
}

/** The topics, that of most services first: [{topic, count, rows: [{name, cells}]}], cells by partition. */
function byTopic(services) {
  const topics = new Map();
  for (const { name, partitions } of services) {
    for (const entry of partitions) {
      if (!topics.has(entry.topic)) topics.set(entry.topic, new Map());
      const rows = topics.get(entry.topic);
      if (!rows.has(name)) rows.set(name, []);
      rows.get(name)[entry.partition] = entry;
    }
  }
  return [...topics]
    .map(([topic, rows]) => ({
      topic,
      count: Math.max(...[...rows.values()].map((cells) => cells.length)),
      rows: [...rows].map(([name, cells]) => ({ name, cells })),
    }))
    .sort((one, other) => other.rows.length - one.rows.length || one.topic.localeCompare(other.topic));
}

function table({ topic, count }) {
  const heads = Array.from({ length: count }, (_, number) =>
    html("th", { role: "columnheader", scope: "col" }, `Partition ${number}`),
  );
  return html(
    "table",
    { role: "table", className: "matrix" },
    html("caption", { className: "hidden-label" }, topic),
    html(
      "thead",
      { role: "rowgroup" },
      html("tr", { role: "row" }, html("th", { role: "columnheader", scope: "col" }, topic), ...heads),
    ),
    html("tbody", { role: "rowgroup" }),
  );
}

function tableRow({ name }, count) {
  const cells = Array.from({ length: count }, (_, number) =>
    html(
      "td",
      { role: "cell" },
      html("span", { className: "number-label", ariaHidden: "true" }, `p${number}`),
      html("span", { className: "owner" }),
      html("span", { className: "lag" }),
      html("span", { className: "offsets", title: "committed offset / log end offset" }),
    ),
  );
  return html("tr", { role: "row" }, html("th", { role: "rowheader", scope: "row" }, title(name)), ...cells);
}

function fillRow(row, { cells }) {
  [...row.cells].slice(1).forEach((cell, number) => {
    const entry = cells[number];
    cell.classList.toggle("empty-cell", !entry);
    if (!entry) return;
    const [, owner, lag, offsets] = cell.children;
    cell.dataset.owner = entry.owner ?? "";
    cell.dataset.colour = entry.owner ? (instanceNumber(entry.owner) - 1) % COLOURS : "none";
    cell.classList.toggle("behind", entry.lag > 0);
    setText(owner, entry.owner ?? "no owner");
    owner.title = owner.textContent; // which may not fit
    setText(lag, entry.lag == null ? "lag unknown" : `lag ${integer(entry.lag)}`);
    setText(offsets, `${integer(entry.committed)} / ${integer(entry.log_end)}`);
  });
}

const instanceNumber = (instance) => Number(/(\d+)$/.exec(instance)?.[1] ?? 1);
