// The stream of changes ends with the page: a connection that the browser cuts off
// while it goes to another page is no error.

export function endWithPage() {
  window.htmx.createEventSource = (url) => {
    const source = new EventSource(url);
    window.addEventListener("pagehide", () => source.close(), { once: true });
    document.addEventListener("submit", (event) => {
      if (event.target.getAttribute("action") === "/logout") source.close();
    });
    return source;
  };
}
