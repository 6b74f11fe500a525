// Couriers on a plain map: no tiles, a grid of latitude and longitude, and the paths they took.

import { ticks } from "./charts.js";
import { byId, html, reconcile, setAttributes, setText, svg } from "./dom.js";
import { age } from "./format.js";

const MARGIN = 26; // pixels around the box of all positions, names included
const SHOWN = 200; // couriers drawn, at most
const NAMED = 30; // more names than these would hide each other
const LETTER = 7.5; // pixels of a name's letter, about
const TRAIL = 24; // positions of a trail
const SMALLEST = 0.004; // degrees: one courier at rest fills no map
const MOVE = 1000; // ms: until the next positions come
const SILENT = 30; // seconds without a position: shown as such
const KILOMETRES = 111.32; // a degree of latitude

/** Shows `state.couriers`. */
export function couriersMap() {
  const map = byId("map");
  const [grid, trails, dots, scale] = ["axis", "trails", "dots", "scale"].map((name) =>
    map.appendChild(svg("g", { class: name })),
  );
  scale.append(svg("path"), svg("text", { "text-anchor": "end" }));
  const table = positionsTable(byId("couriers-table"));
  const tracks = new Map(); // courier -> its positions [{latitude, longitude, at}], oldest first
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let box = null;
  let view = null;

  function draw(couriers, time) {
    const shown = couriers.slice(0, SHOWN);
    const moved = new Set();
    for (const { courier, latitude, longitude, at } of couriers) box = grown(box, latitude, longitude);
    for (const { courier, latitude, longitude, at } of shown) {
      const track = tracks.get(courier) ?? [];
      tracks.set(courier, track);
      if (at === track.at(-1)?.at) continue;
      track.push({ latitude, longitude, at });
      track.splice(0, track.length - TRAIL);
      moved.add(courier);
    }
    const names = new Set(shown.map(({ courier }) => courier));
    for (const courier of tracks.keys()) if (!names.has(courier)) tracks.delete(courier);
    const { clientWidth: width, clientHeight: height } = map;
    const same = view && view.width === width && view.height === height && view.box === box;
    if (!same && width && box) {
      view = projection(box, width, height);
      setAttributes(map, { viewBox: `0 0 ${width} ${height}` });
      drawGrid(grid, scale, view);
    }
    if (!view) return;
    const place = (position) => [view.x(position.longitude), view.y(position.latitude)];
    const animated = (courier) => same && moved.has(courier) && !still.matches;
    drawTrails(trails, shown, tracks, place, animated, moved, same);
    reconcile(dots, shown, ({ courier }) => courier, dot, (element, { courier, at }) => {
      const points = tracks.get(courier).map(place);
      const silent = time - at / 1000;
      element.classList.toggle("silent", silent > SILENT);
      const left = points.at(-1)[0] + 9 + LETTER * courier.length > view.width; // no room for the name at the right
      setAttributes(element.children[2], left ? { x: -9, "text-anchor": "end" } : { x: 9, "text-anchor": "start" });
      setText(element.children[2], shown.length <= NAMED || silent > SILENT ? courier : "");
      setText(element.firstChild, `${courier}${silent > SILENT ? `, silent for ${age(silent)}` : ""}`);
      if (same && !moved.has(courier)) return;
      const end = `translate(${points.at(-1).map(round).join("px,")}px)`;
      const now = getComputedStyle(element).transform;
      element.style.transform = end;
      for (const animation of element.getAnimations()) animation.cancel();
      if (animated(courier) && points.length > 1) element.animate({ transform: [now, end] }, MOVE);
    });
  }

  return ({ couriers, time }) => {
    const sorted = [...couriers].sort((one, other) => one.courier.localeCompare(other.courier, "en", { numeric: true }));
    draw(sorted, time);
    table(sorted, time);
    const more = sorted.length > SHOWN ? `, ${SHOWN} of them drawn` : "";
    const words = sorted.length === 1 ? "1 courier" : `${sorted.length} couriers${more}`;
    setText(byId("couriers-note"), sorted.length ? words : "no position yet");
    setAttributes(map, { "aria-label": `Map of ${words}; the positions are in the table below` });
  };
}

const round = (value) => Math.round(value * 10) / 10;

/** The smallest box that holds a further position, with room to spare: a box that grew each second would blur. */
function grown(box, latitude, longitude) {
  if (!box) {
    return { south: latitude - SMALLEST, north: latitude + SMALLEST, west: longitude - SMALLEST, east: longitude + SMALLEST };
  }
  const { south, north, west, east } = box;
  if (latitude >= south && latitude <= north && longitude >= west && longitude <= east) return box;
  const spare = 0.06;
  const [tall, wide] = [(north - south) * spare, (east - west) * spare];
  return {
    south: latitude < south ? latitude - tall : south,
    north: latitude > north ? latitude + tall : north,
    west: longitude < west ? longitude - wide : west,
    east: longitude > east ? longitude + wide : east,
  };
}

/** Equirectangular, true to scale in the middle of the box, which it centres. */
function projection(box, width, height) {
  const [latitude, longitude] = [(box.south + box.north) / 2, (box.west + box.east) / 2];
  const squeeze = Math.max(0.1, Math.cos((latitude * Math.PI) / 180));
  const pixels = Math.min(
    (width - 2 * MARGIN) / ((box.east - box.west) * squeeze),
    (height - 2 * MARGIN) / (box.north - box.south),
  ); // a degree of latitude
  return {
    box,
    width,
    height,
    pixels,
    squeeze,
    x: (value) => width / 2 + (value - longitude) * squeeze * pixels,
    y: (value) => height / 2 - (value - latitude) * pixels,
    longitudes: [longitude - width / 2 / (squeeze * pixels), longitude + width / 2 / (squeeze * pixels)],
    latitudes: [latitude - height / 2 / pixels, latitude + height / 2 / pixels],
  };
}

function drawGrid(grid, scale, view) {
  const lines = [
    ...ticks(...view.longitudes, Math.max(2, view.width / 130)).map((value) => ({ value, x: round(view.x(value)) })),
    ...ticks(...view.latitudes, 4).map((value) => ({ value, y: round(view.y(value)) })),
  ].filter(({ x = 99, y = 99 }) => x > 20 && x < view.width - 50 && y > 14 && y < view.height - 20);
  const make = () => svg("g", {}, svg("line", { class: "grid" }), svg("text"));
  reconcile(grid, lines, ({ value, x }) => `${x === undefined ? "latitude" : "longitude"} ${value}`, make, (line, { value, x, y }) => {
    const upright = x !== undefined;
    setAttributes(line.firstChild, upright ? { x1: x, x2: x, y1: 0, y2: view.height } : { x1: 0, x2: view.width, y1: y, y2: y });
    setAttributes(line.lastChild, upright ? { x: x + 4, y: view.height - 7 } : { x: 6, y: y - 4 });
    setText(line.lastChild, degrees(value, upright ? "EW" : "NS"));
  });
  const kilometre = view.pixels / KILOMETRES;
  const length = [500, 200, 100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1].find((km) => km * kilometre <= 90) ?? 0.1;
  const [x, y] = [view.width - 12, 14];
  setAttributes(scale.firstChild, { d: `M${round(x - length * kilometre)} ${y - 4}v4H${x}v-4` });
  setAttributes(scale.lastChild, { x, y: y + 15 });
  setText(scale.lastChild, length < 1 ? `${length * 1000} m` : `${length} km`);
}

const degrees = (value, [positive, negative]) =>
  `${Number(Math.abs(value).toFixed(4))}° ${value < 0 ? negative : positive}`.replace(/^0° .$/, "0°");

/** Each trail grows towards where its courier is now, as fast as the dot moves. */
function drawTrails(parent, couriers, tracks, place, animated, moved, same) {
  reconcile(parent, couriers, ({ courier }) => courier, () => svg("path", { pathLength: 1 }), (trail, { courier }) => {
    if (same && !moved.has(courier)) return;
    const points = tracks.get(courier).map(place);
    trail.setAttribute("d", `M${points.map((point) => point.map(round).join(" ")).join("L")}`);
    for (const animation of trail.getAnimations()) animation.cancel();
    const lengths = points.slice(1).map(([x, y], index) => Math.hypot(x - points[index][0], y - points[index][1]));
    const whole = lengths.reduce((total, length) => total + length, 0);
    if (animated(courier) && whole > 0) trail.animate({ strokeDashoffset: [lengths.at(-1) / whole, 0] }, MOVE);
  });
}

const dot = ({ courier }) =>
  svg("g", { class: "courier", "data-courier": courier }, svg("title"), svg("circle", { r: 5 }), svg("text", { y: 4 }));

/** The positions as a table, filled while it is open. */
function positionsTable(details) {
  const body = html("tbody");
  const head = (text, className = "number") => html("th", { scope: "col", className }, text);
  details.append(
    html("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Positions of the couriers" },
      html("table", {},
        html("thead", {}, html("tr", {}, head("Courier", ""), head("Latitude"), head("Longitude"), head("Seen"))),
        body)),
  );
  const number = () => html("td", { className: "number" });
  const create = () => html("tr", {}, html("th", { scope: "row" }), number(), number(), number());
  let latest = [[], 0];
  const fill = () => {
    const [couriers, time] = latest;
    if (!details.open) return;
    reconcile(body, couriers, ({ courier }) => courier, create, (row, { courier, latitude, longitude, at }) => {
      const texts = [courier, latitude.toFixed(5), longitude.toFixed(5), `${age(time - at / 1000)} ago`];
      texts.forEach((text, index) => setText(row.cells[index], text));
    });
  };
  details.addEventListener("toggle", fill);
  return (couriers, time) => {
    latest = [couriers, time];
    fill();
  };
}
