// Makes what is shown, and brings the page to it with as few changes as possible.
//
// All of it is made here, of elements, attributes and text nodes: nothing a guest says is ever read as markup. What is on
// the page already stays, so that focus, selection, scrolling and what was unfolded outlive an update.

const SVG = "http://www.w3.org/2000/svg";
// Invisible or direction-changing characters: shown as their numbers, so that a name looks like what it is.
const TREACHEROUS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** A guest's words, harmless. */
export function plain(text) {
  return String(text).replace(TREACHEROUS, (c) => (c === "\n" || c === "\t" ? c : `\\u{${c.codePointAt(0).toString(16)}}`));
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(plain(child)));
  }
  return node;
}

/** An element; children are elements or text, and what is absent is left out. `data-key` tells it from its neighbours. */
export const el = (name, attributes, ...children) => build(document.createElement(name), attributes, children);

/** The same, for pictures. */
export const svg = (name, attributes, ...children) => build(document.createElementNS(SVG, name), attributes, children);

const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);
const alike = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);

/** Makes the children of an element those wanted. */
export function show(parent, ...wanted) {
  const focused = document.activeElement;
  children(parent, build(document.createDocumentFragment(), {}, wanted));
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}

function children(have, want) {
  const keyed = new Map();
  for (const child of have.childNodes) if (key(child) !== null) keyed.set(key(child), child);
  let at = have.firstChild;
  for (const next of [...want.childNodes]) {
    const known = keyed.get(key(next));
    if (known && alike(known, next)) {
      keyed.delete(key(next));
      if (known === at) at = at.nextSibling;
      else have.insertBefore(known, at);
      become(known, next);
    } else if (at && key(next) === null && alike(at, next)) {
      const here = at;
      at = at.nextSibling;
      become(here, next);
    } else {
      have.insertBefore(next, at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function become(have, want) {
  if (have.nodeType !== Node.ELEMENT_NODE) {
    if (have.data !== want.data) have.data = want.data;
    return;
  }
  for (const { name, value } of want.attributes) {
    // Whoever looks unfolds and folds.
    if (name !== "open" && have.getAttribute(name) !== value) have.setAttribute(name, value);
  }
  for (const { name } of [...have.attributes]) {
    if (name !== "open" && !want.hasAttribute(name)) have.removeAttribute(name);
  }
  children(have, want);
}
