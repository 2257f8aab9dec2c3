// Times in the reader's zone and language; durations and countdowns that go on.

const lang = document.documentElement.lang || "en";
const day = new Intl.DateTimeFormat(lang, { dateStyle: "short" });
const clock = new Intl.DateTimeFormat(lang, { timeStyle: "short" });
const both = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(lang, { dateStyle: "full", timeStyle: "long" });
const units = ["second", "minute", "hour", "day"].map(
  (unit) => new Intl.NumberFormat(lang, { style: "unit", unit, unitDisplay: "short" }),
);

function duration(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return units[0].format(seconds);
  if (seconds < 3600) return units[1].format(Math.floor(seconds / 60));
  if (seconds < 86400) return units[2].format(Math.floor(seconds / 3600));
  return units[3].format(Math.floor(seconds / 86400));
}

function show(time, now) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) return;
  let text;
  if ("since" in time.dataset) text = duration(now - at);
  else if ("until" in time.dataset) text = duration(Math.ceil((at - now) / 1000) * 1000);
  else if ("exact" in time.dataset) text = `${day.format(at)} ${at.toLocaleTimeString(lang, { timeStyle: "medium" })}`;
  else text = day.format(at) === day.format(now) ? clock.format(at) : both.format(at);
  if (time.textContent !== text) time.textContent = text;
  if (!time.title) time.title = exact.format(at);
}

function showAll(selector) {
  const now = new Date();
  for (const time of document.querySelectorAll(selector)) show(time, now);
}

export function showTimes() {
  showAll("time");
  document.body.addEventListener("htmx:afterSwap", () => showAll("time"));
  setInterval(() => showAll("time[data-since], time[data-until]"), 1000);
}
