// Making and changing elements. Text is only ever set as text: nothing on this page is parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An HTML element; `properties` are DOM properties, or attributes where there is no such property (aria-..., role). */
export function html(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** An SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

/** Touches only what differs, so that a page without news costs no layout. */
export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Gives `parent` one child for each item, kept by key: hover, focus and running animations outlive an update.
 * `create(item)` returns an element; `update(element, item, index)` fills it.
 */
export function reconcile(parent, items, key, create, update) {
  parent.keyed ??= new Map();
  const left = new Map(parent.keyed);
  let before = null;
  items.forEach((item, index) => {
    const name = key(item, index);
    let element = left.get(name);
    if (element) left.delete(name);
    else {
      element = create(item);
      parent.keyed.set(name, element);
    }
    const place = before ? before.nextSibling : parent.firstChild;
    if (element !== place) parent.insertBefore(element, place);
    update(element, item, index);
    before = element;
  });
  for (const [name, element] of left) {
    element.remove();
    parent.keyed.delete(name);
  }
}
