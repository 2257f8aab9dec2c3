// Says that a conversation waits to be accepted: in the title, the icon, the badge,
// and once for each to those who listen instead of looking.

const title = document.title;
const icon = document.querySelector("link[rel=icon]");
const told = new Set();

function tell() {
  const alerts = [...document.querySelectorAll("[data-alert][id]")];
  document.title = alerts.length ? `(${alerts.length}) ${title}` : title;
  if (icon) icon.href = alerts.length ? icon.dataset.alert : icon.dataset.calm;
  if (navigator.setAppBadge) {
    const badge = alerts.length ? navigator.setAppBadge(alerts.length) : navigator.clearAppBadge();
    badge.catch(() => {});
  }
  for (const alert of alerts) {
    if (told.has(alert.id)) continue;
    told.add(alert.id);
    document.querySelector("#announce").textContent = alert.dataset.alert;
  }
  for (const id of told) if (!document.getElementById(id)) told.delete(id);
}

export function followAlerts() {
  tell();
  document.body.addEventListener("htmx:afterSettle", tell);
}
