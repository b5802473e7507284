// Brings up to date what a page shows when the server tells of changes. Every page is whole without this.
//
// Figures marked data-stat are filled from the stream. Regions of the page marked data-live are fetched again; a page without any, as one
// that shows a search, is never asked for again, as that would be another search.
(() => {
  'use strict';
  const figures = document.querySelectorAll('[data-stat]');
  const regions = document.querySelectorAll('main [data-live]');
  if (!window.fetch || !window.DOMParser) return;

  let running = false;
  let missed = false;

  const put = (region, fresh) => {
    if (region.innerHTML === fresh.innerHTML) return;
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    // What is focused and cannot be found again is not taken away from under the keyboard.
    if (focused && !focused.id) return;
    region.replaceChildren(...fresh.childNodes);
    const again = focused && document.getElementById(focused.id);
    if (again) again.focus({ preventScroll: true });
  };

  const refresh = async () => {
    if (!regions.length) return;
    if (running || document.hidden) {
      missed = true;
      return;
    }
    running = true;
    missed = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: 'text/html' }, cache: 'no-store' });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
        for (const region of regions) {
          const fresh = page.getElementById(region.id);
          if (fresh) put(region, fresh);
        }
      }
    } catch {
      // The server is away; the next event or the next poll tells more.
    }
    running = false;
    if (missed && !document.hidden) setTimeout(refresh, 1000);
  };

  // Events come several at a time: one look serves them all.
  let due = 0;
  const soon = () => {
    due = due || setTimeout(() => {
      due = 0;
      refresh();
    }, 50);
  };

  const hear = (message) => {
    soon();
    try {
      const told = JSON.parse(message.data);
      if (told.event !== 'stat' || told.value === null) return;
      for (const place of figures) {
        if (place.dataset.stat === told.name) place.textContent = told.value;
      }
    } catch {
      // No event of ours.
    }
  };

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && missed) refresh();
  });

  let events = null;
  if (window.EventSource) {
    events = new EventSource('/api/v1/events');
    events.onmessage = hear;
  }
  // Where there is no stream of events, ask.
  setInterval(() => {
    if (!events || events.readyState !== EventSource.OPEN) refresh();
  }, 5000);
})();
