// Keeps what is being typed: through live updates, reloads and a lost connection.

const key = (form) => `draft/${form.dataset.draft}`;

function restore() {
  const form = document.querySelector("[data-draft]");
  const box = form?.querySelector("textarea");
  if (!box || "kept" in box.dataset) return;
  box.dataset.kept = "";
  box.value = sessionStorage.getItem(key(form)) ?? box.value;
  box.addEventListener("input", () => sessionStorage.setItem(key(form), box.value));
}

export function keepDrafts() {
  restore();
  document.body.addEventListener("htmx:afterSettle", restore);
  // The server says so once the reply is in the outbox, and not before.
  document.body.addEventListener("replied", () => {
    const form = document.querySelector("[data-draft]");
    const box = form?.querySelector("textarea");
    if (!box) return;
    sessionStorage.removeItem(key(form));
    box.value = "";
    document.querySelector("#notice").replaceChildren();
    box.focus();
    document.querySelector(".thread > :last-child")?.scrollIntoView({ block: "nearest" });
  });
}
