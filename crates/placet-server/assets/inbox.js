// What the inbox can do beyond plain pages: fresh lists, a countdown, keys. Everything works without it.
'use strict';
(() => {
  const SECOND = 1000;

  // --- Deadlines count down.
  const left = (millis) => {
    if (millis <= 0) return 'now';
    const seconds = Math.floor(millis / SECOND);
    const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
    if (days > 0) return `in ${days} d ${hours} h`;
    if (hours > 0) return `in ${hours} h ${minutes} min`;
    if (minutes > 0) return `in ${minutes} min ${seconds % 60} s`;
    return `in ${seconds} s`;
  };
  const tick = () => {
    for (const time of document.querySelectorAll('time[data-deadline]')) {
      time.textContent = left(Date.parse(time.dateTime) - Date.now());
    }
  };
  tick();
  setInterval(tick, SECOND);

  // --- A form is sent once, however often its button is pressed.
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (form.dataset.sent) event.preventDefault();
    else if (form.method === 'post') form.dataset.sent = 'yes';
  });
  addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
    for (const form of document.querySelectorAll('form[data-sent]')) delete form.dataset.sent;
  });

  // --- Something changed: read the page again and take its live part over.
  const live = document.querySelector('[data-live]');
  const isBusy = () => {
    const form = live.querySelector('form');
    return form && (form.dataset.sent || form.contains(document.activeElement) || form.querySelector('textarea')?.value);
  };
  const say = (text) => {
    const note = document.querySelector('[data-live-note]');
    if (note) note.textContent = text;
  };
  const refresh = async () => {
    const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) return undefined;
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('[data-live]');
    if (!fresh || fresh.dataset.live !== live.dataset.live) return undefined;
    const before = live.cloneNode(true);
    for (const time of [...before.querySelectorAll('time[data-deadline]'), ...fresh.querySelectorAll('time[data-deadline]')]) {
      time.textContent = '';
    }
    if (before.innerHTML === fresh.innerHTML) return undefined;
    if (isBusy()) {
      const stale = document.querySelector('[data-stale]');
      if (stale) stale.hidden = false;
      return undefined;
    }
    const focused = document.activeElement?.closest?.('[data-row]')?.querySelector('a')?.getAttribute('href');
    live.replaceChildren(...fresh.childNodes);
    if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    tick();
    say('The list is up to date.');
    return undefined;
  };
  if (live && 'EventSource' in window) {
    let running = false;
    let again = false;
    const hint = async () => {
      if (running) {
        again = true;
        return;
      }
      running = true;
      try {
        do {
          again = false;
          await refresh();
        } while (again);
      } catch {
        // Not reachable now: the event source comes back by itself, and hints then.
      } finally {
        running = false;
      }
    };
    const events = new EventSource('/v1/reviews/events');
    events.addEventListener('changed', hint);
    // What happened while nobody listened is not hinted at again.
    events.addEventListener('open', hint);
    addEventListener('pagehide', () => events.close());
  }

  // --- Keys: j and k move through a list, Enter follows the link by itself.
  const keys = document.querySelector('[data-keys]');
  if (keys) keys.hidden = false;
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest('input, textarea, select, [contenteditable]')) return;
    const step = { j: 1, k: -1 }[event.key];
    if (!step) return;
    const links = [...document.querySelectorAll('[data-row] a')];
    if (links.length === 0) return;
    const at = links.indexOf(document.activeElement);
    const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1);
    links[next].focus();
    event.preventDefault();
  });
})();
