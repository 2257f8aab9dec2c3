// Makes each mail's frame as high as its mail. The frame runs no script; ours may
// look at its height because the sandbox leaves it our origin.

const LIMIT = 20000;

function fit(frame) {
  const page = frame.contentDocument?.documentElement;
  if (!page) return;
  const body = frame.contentDocument.body;
  const height = Math.max(body?.scrollHeight ?? 0, body?.getBoundingClientRect().bottom ?? 0);
  frame.style.height = `${Math.min(Math.ceil(height) + 14, LIMIT)}px`;
}

function follow(frame) {
  if ("fitted" in frame.dataset) return;
  frame.dataset.fitted = "";
  frame.addEventListener("load", () => fit(frame));
  if (frame.contentDocument?.readyState === "complete") fit(frame);
  new ResizeObserver(() => fit(frame)).observe(frame.parentElement);
}

export function fitFrames() {
  const all = () => document.querySelectorAll("iframe.body").forEach(follow);
  all();
  document.body.addEventListener("htmx:afterSwap", all);
}
