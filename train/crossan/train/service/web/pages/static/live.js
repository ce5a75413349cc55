// Keeps the page as it would be if it were loaded again: whenever the server says that something
// has changed, the page is fetched and each element with data-live that differs is replaced.
// Without this script the pages are the same, and a reload shows what has changed.
"use strict";

(() => {
  let address = document.body.dataset.events;
  if (!address || !window.EventSource) return;

  const SECONDS_BETWEEN_FETCHES = 0.7;
  const SECONDS_UNTIL_WORDS_AGE = 30; // "3 s ago" grows old without any event
  const SECONDS_UNTIL_KNOWN = 2;
  const KINDS = ["state", "log", "curve", "end", "run", "night", "trigger", "alias", "epoch", "answering"];
  const status = document.getElementById("live-state");
  let source = null;
  let timer = null;
  let isFetching = false;
  let isDue = false;
  let fetchedAt = Date.now();
  let retries = 0;

  function say(text) {
    if (!status) return;
    if (status.textContent !== text) status.textContent = text;
  }

  function schedule() {
    isDue = true;
    if (timer !== null || isFetching) return;
    const wait = fetchedAt + SECONDS_BETWEEN_FETCHES * 1000 - Date.now();
    timer = setTimeout(fetchPage, Math.max(wait, 0));
  }

  async function fetchPage() {
    timer = null;
    isFetching = true;
    isDue = false;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
      if (answer.status === 401) {
        // Whoever was logged out sees the form, not an old page.
        location.reload();
        return;
      }
      if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The server is away. The event source tries again, and says so.
    } finally {
      fetchedAt = Date.now();
      isFetching = false;
      if (isDue) schedule();
    }
  }

  function show(fresh) {
    for (const old of document.querySelectorAll("[data-live]")) {
      const replacement = fresh.getElementById(old.id);
      if (replacement) replace(old, document.importNode(replacement, true));
    }
    // What was not on the page before, such as the result of a run, comes in its order.
    for (const added of fresh.querySelectorAll("[data-live]")) {
      if (document.getElementById(added.id)) continue;
      const before = added.previousElementSibling && document.getElementById(added.previousElementSibling.id);
      if (before) before.after(document.importNode(added, true));
    }
    // What another process looks up now is there in a moment.
    if (document.querySelector("[data-soon]")) setTimeout(schedule, SECONDS_UNTIL_KNOWN * 1000);
    // A page of what has ended names no events.
    address = fresh.body.dataset.events;
    if (!address) close();
  }

  function replace(old, replacement) {
    keepOpened(old, replacement);
    if (old.isEqualNode(replacement)) return;
    const focused = old.contains(document.activeElement) ? pathTo(old, document.activeElement) : null;
    const scrolls = [...old.querySelectorAll("[id][data-follow], .scroll")].map((one) => ({
      top: one.scrollTop,
      left: one.scrollLeft,
      isAtEnd: one.scrollTop + one.clientHeight >= one.scrollHeight - 4,
    }));
    const before = old.querySelector("h1 .state");
    const now = replacement.querySelector("h1 .state");
    if (before && now && before.textContent !== now.textContent) say(`Now ${now.textContent}.`);
    old.replaceWith(replacement);
    [...replacement.querySelectorAll("[id][data-follow], .scroll")].forEach((one, index) => {
      const scroll = scrolls[index];
      const follows = one.hasAttribute("data-follow") && (!scroll || scroll.isAtEnd);
      one.scrollTop = follows ? one.scrollHeight : scroll ? scroll.top : 0;
      one.scrollLeft = scroll ? scroll.left : 0;
    });
    if (focused) focusAgain(replacement, focused);
  }

  function keepOpened(old, replacement) {
    for (const details of old.querySelectorAll("details[id]")) {
      const same = replacement.querySelector(`#${CSS.escape(details.id)}`);
      if (same) same.open = details.open;
    }
  }

  function pathTo(root, element) {
    const path = [];
    for (let one = element; one !== root; one = one.parentElement) {
      path.unshift([...one.parentElement.children].indexOf(one));
    }
    return { path, tag: element.tagName, href: element.getAttribute("href") };
  }

  function focusAgain(root, { path, tag, href }) {
    let element = href ? root.querySelector(`a[href="${CSS.escape(href)}"]`) : null;
    element ??= path.reduce((one, index) => one && one.children[index], root);
    if (element && element.tagName === tag) element.focus({ preventScroll: true });
  }

  function open() {
    if (source || !address) return;
    source = new EventSource(address);
    for (const kind of KINDS) source.addEventListener(kind, schedule);
    source.onopen = () => {
      say("");
      // What happened while the connection was away comes with the next fetch.
      if (retries > 0) schedule();
      retries = 0;
    };
    source.onerror = () => {
      retries += 1;
      if (retries > 1) say("The server does not answer; this page may be old.");
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        // An answer other than 200 ends an event source for good.
        setTimeout(() => { schedule(); if (!document.hidden) open(); }, Math.min(1000 * 2 ** retries, 30000));
      }
    };
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  if (document.querySelector("[data-soon]")) setTimeout(schedule, SECONDS_UNTIL_KNOWN * 1000);
  for (const log of document.querySelectorAll("[data-follow]")) log.scrollTop = log.scrollHeight;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { close(); return; }
    schedule();
    open();
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted) { schedule(); open(); } });
  setInterval(() => {
    if (!document.hidden && source && Date.now() - fetchedAt > SECONDS_UNTIL_WORDS_AGE * 1000) schedule();
  }, 5000);
  open();
})();
