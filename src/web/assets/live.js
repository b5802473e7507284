// Brings the regions marked data-live up to date when the server says that something has changed. Every page is whole without this.
(() => {
  'use strict';
  const regions = document.querySelectorAll('[data-live]');
  if (!regions.length || !window.fetch || !window.DOMParser) return;

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

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && missed) refresh();
  });

  let events = null;
  if (window.EventSource) {
    events = new EventSource('/api/v1/events');
    events.onmessage = refresh;
  }
  // Where there is no stream of events, ask.
  setInterval(() => {
    if (!events || events.readyState !== EventSource.OPEN) refresh();
  }, 5000);
})();
