// The keyboard: one key for each thing an agent does often. Single keys can be
// switched off (WCAG 2.1.4) and never act while something is being typed.

const dialog = document.querySelector("#shortcuts");
const single = document.querySelector("#single-keys");
let wrapping = false;

const click = (selector) => document.querySelector(selector)?.click();
const isTyping = (target) => target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");

function move(by) {
  const items = [...document.querySelectorAll("[data-item]")].filter((item) => item.offsetParent);
  const here = items.indexOf(document.activeElement);
  const current = items.findIndex((item) => item.hasAttribute("aria-current"));
  const from = here >= 0 ? here : current;
  items[Math.min(Math.max(from + by, 0), items.length - 1)]?.focus();
}

const actions = {
  "?": () => dialog?.showModal(),
  q: () => click("#go-on, #go-off"),
  a: () => click(".accept"),
  d: () => click(".decline"),
  j: () => move(1),
  k: () => move(-1),
  r: () => document.querySelector("#reply-text")?.focus(),
  w: () => {
    document.querySelector("#wrap-up button")?.focus();
    wrapping = true;
  },
  "/": () => document.querySelector("input[type=search]")?.focus(),
};

function pressed(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("#reply-text")) {
    event.preventDefault();
    event.target.form.requestSubmit();
    return;
  }
  if (event.key === "Escape" && event.target.matches("#reply-text")) {
    event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (dialog?.open || !single?.checked || isTyping(event.target)) return;
  const buttons = document.querySelectorAll("#wrap-up button");
  if (wrapping && /^[1-9]$/.test(event.key)) {
    buttons[Number(event.key) - 1]?.click();
    return;
  }
  const action = actions[event.key];
  if (!action) return;
  wrapping = false;
  event.preventDefault();
  action();
}

export function listenToKeys() {
  document.addEventListener("keydown", pressed);
  document.querySelector("[data-shortcuts]")?.addEventListener("click", () => dialog.showModal());
  if (single) {
    single.checked = localStorage.getItem("single-keys") !== "off";
    single.addEventListener("change", () => localStorage.setItem("single-keys", single.checked ? "on" : "off"));
  }
}
