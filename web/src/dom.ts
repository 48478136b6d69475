// Elements, made so that what the server or a link says is text and never markup.

export type Child = Node | string | number | null | undefined | false;
type Listener = (event: never) => void;
type Value = string | number | boolean | null | undefined | Listener;

/** An element; a function is a listener of the event its name tells (`onclick`), true an empty attribute. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Record<string, Value> = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value as EventListener);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  add(element, ...children);
  return element;
}

export function add(element: Element, ...children: Child[]): void {
  for (const child of children) {
    if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined && child !== false) element.append(String(child));
  }
}

/** Puts children in place of what the element held. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  add(element, ...children);
}

/** Tells beside a field of `labelled` what is wrong with it; null: nothing is any more. */
export function complain(field: HTMLElement, sentence: string | null): void {
  const place = field.closest(".field");
  const told = place?.querySelector(".wrong");
  told?.remove();
  if (sentence === null) {
    if (!told) return;
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
    return;
  }
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", `${field.id}-wrong`);
  place?.append(h("small", { class: "wrong", id: `${field.id}-wrong` }, sentence));
}

let counter = 0;

/** A label above or beside its field. */
export function labelled<T extends HTMLElement>(text: string, field: T, hint?: string): HTMLElement {
  counter += 1;
  field.id ||= `field-${counter}`;
  const label = h("label", { for: field.id }, text);
  if (hint === undefined) return h("div", { class: "field" }, label, field);
  const said = h("small", { id: `${field.id}-hint` }, hint);
  field.setAttribute("aria-describedby", said.id);
  return h("div", { class: "field" }, label, field, said);
}
