// Revenue: two charts, each with its table, and the latest invoices.

import { barChart, columnChart } from "./charts.js";
import { byId, html, reconcile, setText } from "./dom.js";
import { money, sum } from "./format.js";

const COUNTRIES = 10; // bars; the others are one more
const DAYS = 90; // columns, the latest

export function revenueCharts() {
  const countries = byId("countries");
  const days = byId("days");
  let hovered = null; // the day whose amount is written out
  let rows = [];
  const showCountries = barChart(countries);
  const note = () => {
    const [day, amount] = rows.find(([name]) => name === hovered) ?? rows.at(-1) ?? [];
    setText(byId("days-note"), day ? `${day}: ${money(amount)}` : "");
  };
  const showDays = columnChart(days, (day) => {
    hovered = day;
    note();
  });
  days.addEventListener("pointerleave", () => {
    hovered = null;
    note();
  });
  const countriesTable = pairsTable(byId("countries-table"), "Country");
  const daysTable = pairsTable(byId("days-table"), "Day");

  return ({ revenue: { by_country, by_day } }) => {
    const ranked = [...by_country].sort(([, one], [, other]) => other - one);
    const others = ranked.slice(COUNTRIES);
    const bars = ranked.slice(0, COUNTRIES);
    if (others.length) bars.push([`${others.length} others`, sum(others.map(([, amount]) => amount))]);
    showCountries(bars);
    setText(byId("countries-note"), countriesNote(ranked.length));
    countries.ariaLabel = `Bar chart of revenue by country: ${bars.map(([name, amount]) => `${name} ${money(amount)}`).join(", ")}`;
    countriesTable(ranked);
    rows = by_day.slice(-DAYS);
    showDays(rows);
    days.ariaLabel = rows.length
      ? `Column chart of revenue by day, ${rows[0][0]} to ${rows.at(-1)[0]}; the amounts are in the table below`
      : "Column chart of revenue by day: no revenue yet";
    note();
    daysTable(by_day);
  };
}

const countriesNote = (count) => (count === 0 ? "no revenue yet" : count === 1 ? "1 country" : `${count} countries`);

/** Fills the table within a <details> while that is open. */
function pairsTable(details, heading) {
  const body = html("tbody");
  const head = (text, className) => html("th", { scope: "col", className }, text);
  details.append(
    html("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: `Revenue by ${heading.toLowerCase()}` },
      html("table", {}, html("thead", {}, html("tr", {}, head(heading, ""), head("Revenue", "number"))), body)),
  );
  let rows = [];
  const create = () => html("tr", {}, html("th", { scope: "row" }), html("td", { className: "number" }));
  const fill = () => {
    if (!details.open) return;
    reconcile(body, rows, ([name]) => name, create, (row, [name, amount]) => {
      setText(row.cells[0], name);
      setText(row.cells[1], money(amount));
    });
  };
  details.addEventListener("toggle", fill);
  return (next) => {
    rows = next;
    fill();
  };
}

export function invoicesList() {
  const list = byId("invoices");
  const create = ({ number }) =>
    html(
      "li",
      {},
      html("a", { href: `/invoices/${encodeURIComponent(number)}`, title: number }, number),
      html("span", { className: "amount" }),
      html("span", { className: "muted" }),
    );
  return ({ recent }) => {
    byId("invoices-none").hidden = recent.length > 0;
    reconcile(list, recent, ({ number }) => number, create, (item, { customer, total, kind }) => {
      const [, amount, what] = item.children;
      setText(amount, money(total));
      setText(what, `${kind.replaceAll("_", " ")} · ${customer ? `customer ${customer}` : "guest"}`);
    });
  };
}
