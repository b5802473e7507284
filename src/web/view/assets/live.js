// Updates a page when the stream of the server has an event. Without this script a page is complete, but stays as it was loaded.
//
// Elements with data-stat get the values of the stream. For elements with data-live the script fetches the page again. A page without
// data-live, such as the result of a search, is never fetched again, because that would be another search.
(() => {
  'use strict';
  const figures = document.querySelectorAll('[data-stat]');
  const regions = document.querySelectorAll('main [data-live]');
  if (!window.fetch || !window.DOMParser) return;

  let isFetching = false;
  // A refresh was due while one ran or the page was hidden.
  let isDue = false;

  const replaceRegion = (region, fresh) => {
    if (region.innerHTML === fresh.innerHTML) return;
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    // An element without an id could not get its focus back, and a user at the keyboard would lose the place.
    if (focused && !focused.id) return;
    region.replaceChildren(...fresh.childNodes);
    const again = focused && document.getElementById(focused.id);
    if (again) again.focus({ preventScroll: true });
  };

  const refresh = async () => {
    if (!regions.length) return;
    if (isFetching || document.hidden) {
      isDue = true;
      return;
    }
    isFetching = true;
    isDue = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: 'text/html' }, cache: 'no-store' });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
        for (const region of regions) {
          const fresh = page.getElementById(region.id);
          if (fresh) replaceRegion(region, fresh);
        }
      }
    } catch {
      // The server cannot be reached: the next event or the next interval tries again.
    }
    isFetching = false;
    if (isDue && !document.hidden) setTimeout(refresh, 1000);
  };

  // Several events often come together: one refresh is enough for them.
  let timer = 0;
  const refreshSoon = () => {
    timer = timer || setTimeout(() => {
      timer = 0;
      refresh();
    }, 50);
  };

  const onEvent = (message) => {
    refreshSoon();
    try {
      const event = JSON.parse(message.data);
      if (event.event !== 'stat' || event.value === null) return;
      for (const figure of figures) {
        if (figure.dataset.stat === event.name) figure.textContent = event.value;
      }
    } catch {
      // The message is not an event of this server.
    }
  };

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && isDue) refresh();
  });

  let events = null;
  if (window.EventSource) {
    events = new EventSource('/api/v1/events');
    events.onmessage = onEvent;
  }
  // While there is no stream of events, refresh at an interval.
  setInterval(() => {
    if (!events || events.readyState !== EventSource.OPEN) refresh();
  }, 5000);
})();
