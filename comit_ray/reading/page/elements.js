// Finds an element of the page by its id, and makes new elements.

export function byId(id) {
  return document.getElementById(id);
}

export function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}
