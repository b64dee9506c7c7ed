/* The desk: wires the feed to the store, and the store to the page. What changes is put on the page once per frame
   of the screen, however much has come. */

import { EMOTIONS } from "../shared/emotions.js";
import { $, clearNotice, make, notify, notifyError } from "../shared/parts.js";
import {
  addWords,
  currentLanguage,
  messageOf,
  names,
  percent,
  say,
  speak,
  t,
  toggleLanguage,
} from "../shared/text.js";
import { askToken, keptToken } from "../shared/token.js";
import { title } from "./cards.js";
import { Feed } from "./feed.js";
import { Grid } from "./grid.js";
import { Notifier } from "./notifier.js";
import { Panel } from "./panel.js";
import { EVERYTHING, Store, matches, sorted } from "./store.js";
import { DESK_WORDS } from "./words.js";

const TOKEN_KEY = "emotion-stream.monitor-token";
const ORDER_MS = 2_000; // between two orderings
const CLOCK_MS = 1_000;

addWords(DESK_WORDS);

const store = new Store(onCritical);
const grid = new Grid($("cards"), (held) => {
  $("held").hidden = !held;
  if (!held) arrangeSoon();
});
const panel = new Panel();
const notifier = new Notifier({
  sound: $("notify-sound"),
  desktop: $("notify-desktop"),
  onDenied: () => notify("denied", "warn", "desk.notify.denied"),
});
const feed = new Feed(told, keptToken(TOKEN_KEY));

let filter = { ...EVERYTHING };
let order = "trouble";
let link = "connecting";
let known = false; // whether the server has said which sessions there are
let drawing = 0;
let arranging = true;
let lastTold = 0;

// -- what the feed tells ---------------------------------------------------------------------------

function told(event, payload) {
  if (event === "state") return showLink(payload);
  if (event === "refused") return notifyError(payload, payload.code === "CLOSED" ? "error" : "warn");
  if (event === "missing") return showMissing();
  const now = performance.now();
  if (event === "summaries") {
    lastTold = Date.now();
    if (payload.whole || payload.gone.length) arrangeSoon();
    known = true;
    store.take(payload, now);
  }
  if (event === "session") panel.take(payload);
  draw();
}

function showLink(state) {
  link = state;
  $("connection").dataset.state = state === "closed" ? "offline" : state;
  say($("state"), state === "closed" ? "state.offline" : `state.${state}`);
  document.body.dataset.link = state;
  clearNotice("away");
  if (state === "online")
    for (const code of ["CLOSED", "TOO_MANY_SESSIONS", "UNAUTHORIZED"]) clearNotice(code);
  if (state === "unauthorized") askToken(useToken, TOKEN_KEY);
  if (state === "offline" && known)
    notify("away", "warn", "desk.away", null, { time: new Date(lastTold).toLocaleTimeString() });
  showEmpty();
}

function useToken(token) {
  feed.connect(token);
}

function onCritical(session) {
  notifier.alert(session);
  say($("announce"), "alert.said", {
    level: () => t("level.critical"),
    name: title(session),
    ...messageOf(session.alerts.last),
  });
}

// -- drawing ---------------------------------------------------------------------------------------

function draw() {
  drawing ||= requestAnimationFrame(drawNow);
}

function arrangeSoon() {
  arranging = true;
  draw();
}

function drawNow() {
  drawing = 0;
  const now = performance.now();
  const changed = [...store.changed];
  store.changed.clear();
  grid.update(store.sessions, changed, now);
  if (arranging && !grid.held) arrange();
  showTotals();
  showChoices();
  showEmpty();
  const session = panel.id && store.sessions.get(panel.id);
  if (session) panel.show(session, now);
  else if (panel.id && panel.history.summary) panel.note("panel.gone");
}

function arrange() {
  arranging = false;
  const inOrder = [...grid.cards.keys()].map((id) => store.sessions.get(id)).filter(Boolean);
  const wanted = sorted(
    inOrder.filter((session) => matches(session, filter)),
    order,
  );
  grid.arrange(
    wanted.map(({ session_id: id }) => id),
    store.sessions,
  );
  const all = store.sessions.size;
  say($("shown"), "desk.shown", { shown: wanted.length, all });
  $("clear").hidden = JSON.stringify(filter) === JSON.stringify(EVERYTHING);
  $("none").hidden = !(all > 0 && wanted.length === 0);
}

function showEmpty() {
  $("empty").hidden = !(known && link === "online" && store.sessions.size === 0);
}

// -- on top ----------------------------------------------------------------------------------------

const shares = EMOTIONS.map(({ label, emoji }) => {
  const part = make("i", { "data-emotion": label });
  const count = make("span", { class: "value" });
  const name = make("span", { class: "hidden" });
  say(name, "{name}", { name: () => names(label)[0] });
  const face = make("span", { class: "emoji", "aria-hidden": "true" }, emoji);
  const button = make(
    "button",
    { type: "button", "data-emotion": label, "aria-pressed": "false" },
    face,
    name,
    count,
  );
  button.onclick = () => choose({ emotion: filter.emotion === label ? "" : label });
  $("share").append(part);
  $("share-legend").append(make("li", {}, button));
  return { label, part, count, button };
});

function showTotals() {
  const { live, speaking, open, emotions } = store.totals;
  put($("count-live"), live);
  put($("count-speaking"), speaking);
  put($("count-open"), open.critical + open.warning + open.info);
  put($("count-critical"), open.critical);
  $("count-critical").parentElement.dataset.some = open.critical > 0;
  const all = emotions.reduce((sum, n) => sum + n, 0) || 1;
  shares.forEach(({ part, count, button, label }, i) => {
    part.style.setProperty("--p", emotions[i] / all);
    put(count, emotions[i] ? percent(emotions[i] / all) : "–");
    button.dataset.some = emotions[i] > 0;
    button.title = `${names(label).join(" ")}: ${emotions[i]}`;
  });
}

function put(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** Queues and languages to choose from, as far as sessions have any. */
function showChoices() {
  for (const tag of ["queue", "language"]) {
    const values = store.values(tag);
    const list = $(`filter-${tag}`);
    const had = [...list.options].slice(1).map(({ value }) => value);
    if (filter[tag] && !values.includes(filter[tag])) values.push(filter[tag]);
    list.parentElement.hidden = values.length === 0;
    if (had.join("\n") === values.join("\n")) continue;
    list.replaceChildren(list.options[0], ...values.map((value) => make("option", { value }, value)));
    list.value = filter[tag];
  }
}

function choose(change) {
  filter = { ...filter, ...change };
  $("filter-text").value = filter.text;
  for (const name of ["level", "queue", "language"]) $(`filter-${name}`).value = filter[name];
  for (const { label, button } of shares) button.setAttribute("aria-pressed", filter.emotion === label);
  arrange();
  grid.refresh(store.sessions, performance.now());
}

$("filter-text").oninput = () => choose({ text: $("filter-text").value.trim() });
for (const name of ["level", "queue", "language"])
  $(`filter-${name}`).onchange = (event) => choose({ [name]: event.target.value });
$("order").onchange = (event) => {
  order = event.target.value;
  arrange();
};
$("clear").onclick = () => choose(EVERYTHING);

// -- one session -----------------------------------------------------------------------------------

let cameFrom = null; // the card that was pressed

function follow() {
  const [, id] = location.hash.match(/^#session\/(.+)$/) ?? [];
  const wanted = id ? decodeURIComponent(id) : null;
  if (wanted === panel.id) return;
  if (wanted) {
    cameFrom ??= document.activeElement?.closest?.(".call")?.card?.id ?? wanted;
    panel.close();
    document.body.dataset.open = true;
    $("panel").hidden = false;
    panel.open(wanted);
    $("panel-title").focus();
    scrollToPanel();
  } else {
    panel.close();
    panel.id = null;
    delete document.body.dataset.open;
    $("panel").hidden = true;
    grid.cards.get(cameFrom)?.link.focus({ preventScroll: false });
    cameFrom = null;
  }
  for (const { element, id: shown } of grid.cards.values()) element.dataset.chosen = shown === wanted;
  feed.open(wanted);
  draw();
}

function scrollToPanel() {
  if (matchMedia("(max-width: 1099px)").matches) scrollTo(0, 0);
}

function showMissing() {
  panel.note("panel.missing");
}

addEventListener("hashchange", follow);
$("back").onclick = () => (location.hash = "");
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && panel.id && !$("token").open) location.hash = "";
});

function hint() {
  $("filter-text").placeholder = t("desk.search");
}

// -- the page --------------------------------------------------------------------------------------

grid.onSeen = () => grid.refresh(store.sessions, performance.now());
setInterval(() => {
  grid.refresh(store.sessions, performance.now());
  draw();
}, CLOCK_MS);
setInterval(arrangeSoon, ORDER_MS);
addEventListener("online", () => link === "offline" && feed.connect());
$("language").onclick = () => {
  toggleLanguage();
  hint();
};
speak(currentLanguage());
hint();
follow();
feed.connect();
