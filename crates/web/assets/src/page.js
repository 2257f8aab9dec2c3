// The start of all scripts of the screens: each looks after one thing.

import { endWithPage } from "./stream.js";
import { showTimes } from "./times.js";
import { fitFrames } from "./frames.js";
import { followAlerts } from "./alerts.js";
import { keepDrafts } from "./drafts.js";
import { listenToKeys } from "./keys.js";

endWithPage();
showTimes();
fitFrames();
followAlerts();
keepDrafts();
listenToKeys();

// The page says which mails it has, so that only new ones are opened and sent.
document.body.addEventListener("htmx:configRequest", (event) => {
  if (event.target.closest("[data-known]")) {
    const known = [...document.querySelectorAll("[data-mail]")].slice(-100).map((mail) => mail.id);
    event.detail.parameters["known"] = known.join(",");
  }
});

// After an action the eye and the keyboard are where the work goes on.
const start = document.querySelector("[data-conversation] #reply-text");
if (start && document.activeElement === document.body && window.innerWidth > 700) {
  document.querySelector("#subject")?.focus({ preventScroll: true });
}
