// Make elements, and speak to screen readers.

const byId = (id) => document.getElementById(id);

/** An element; `properties` are attributes, `on…` listeners, `class` and `text`. Children are elements or texts. */
function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Say what changed to people who do not see it. */
function announce(text) {
  byId("announcer").textContent = text;
}

const COUNT = new Intl.NumberFormat("en-US");
