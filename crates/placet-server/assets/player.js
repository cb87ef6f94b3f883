// Plays a recording. Whatever the program wrote becomes text nodes, and nothing else; the transcript works without this.
'use strict';
(() => {
  const player = document.querySelector('[data-player]');
  if (!player) return;
  const part = (name) => player.querySelector(`[data-${name}]`);
  const [screen, note, play, position, time, speed] = ['screen', 'note', 'play', 'position', 'time', 'speed'].map(part);
  /** A longer silence is not waited for. */
  const SILENCE_MS = 2000;
  const STEP_MS = 5000;
  /** What went by long ago leaves the screen; the transcript has all of it. */
  const PIECES_MAX = 5000;

  /** Events as `{ at, real, who, words }`: when to play it, and when it was. */
  let events = [];
  let shown = 0;
  let at = 0;
  let end = 0;
  let last;

  const clock = (ms) => `${Math.floor(ms / 60000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, '0')}`;
  const isPlaying = () => last !== undefined;

  /** Shows everything up to `at`, from the beginning if that lies behind. */
  const show = () => {
    if (shown > 0 && events[shown - 1].at > at) {
      shown = 0;
      screen.replaceChildren();
      note.textContent = '';
    }
    const follows = screen.scrollTop + screen.clientHeight >= screen.scrollHeight - 8;
    const fresh = document.createDocumentFragment();
    for (; shown < events.length && events[shown].at <= at; shown += 1) {
      const { who, words } = events[shown];
      if (who === 'placet') {
        note.textContent = `placet: ${words}`;
        continue;
      }
      const piece = document.createElement('span');
      piece.className = `from-${who}`;
      piece.textContent = words;
      fresh.append(piece);
    }
    screen.append(fresh);
    while (screen.childNodes.length > PIECES_MAX) screen.firstChild.remove();
    if (follows) screen.scrollTop = screen.scrollHeight;
    const total = events.length > 0 ? events[events.length - 1].real : 0;
    const now = at >= end ? total : shown > 0 ? events[shown - 1].real + (at - events[shown - 1].at) : at;
    position.value = String(at);
    time.textContent = `${clock(Math.min(now, total))} of ${clock(total)}`;
    position.setAttribute('aria-valuetext', time.textContent);
  };

  const pause = () => {
    last = undefined;
    play.textContent = 'Play';
  };
  const tick = (now) => {
    if (!isPlaying()) return;
    at = Math.min(end, at + (now - last) * Number(speed.value));
    last = now;
    show();
    if (at >= end) pause();
    else requestAnimationFrame(tick);
  };
  const toggle = () => {
    if (isPlaying()) return pause();
    if (at >= end) at = 0;
    last = performance.now();
    play.textContent = 'Pause';
    requestAnimationFrame(tick);
    return undefined;
  };
  const seek = (to) => {
    at = Math.min(end, Math.max(0, to));
    show();
  };

  play.addEventListener('click', toggle);
  position.addEventListener('input', () => seek(Number(position.value)));
  player.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // Fields and buttons have keys of their own.
    if (event.target.closest('input, select, button')) return;
    const moves = { ArrowLeft: at - STEP_MS, ArrowRight: at + STEP_MS, Home: 0, End: end };
    if (event.key === ' ') toggle();
    else if (event.key in moves) seek(moves[event.key]);
    else return;
    event.preventDefault();
  });

  const load = async () => {
    const answer = await fetch(player.dataset.player, { headers: { accept: 'application/json' } });
    if (!answer.ok) return;
    let real = 0;
    events = (await answer.json()).map(([after, who, words]) => {
      real += after;
      end += Math.min(after, SILENCE_MS);
      return { at: end, real, who, words };
    });
    position.max = String(end);
    player.hidden = false;
    show();
  };
  // Without it the transcript is there.
  load().catch(() => {});
})();
