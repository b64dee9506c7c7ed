/* Wires the feed to the store, and the store to the page. What changes is put on the page once per frame of the
   screen, however much has come. */

import { showConnection } from "../shared/header.js";
import { $, clearNotice, notify, notifyError } from "../shared/parts.js";
import { messageOf, say, t } from "../shared/text.js";
import { askToken, asksToken, keptToken } from "../shared/token.js";
import { Card, title } from "./cards.js";
import { Feed } from "./feed.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Notifier } from "./notifier.js";
import { Panel } from "./panel.js";
import { Store, isMisplaced, matches, sorted } from "./store.js";

/** @import { ServerError } from "../../client/emotion-stream.js" */
/** @import { LinkState, SummariesMessage } from "./feed.js" */
/** @import { Session } from "./store.js" */

const TOKEN_KEY = "emotion-stream.monitor-token";
const ORDER_MS = 15_000; // between two orderings: cards that move all the time cannot be read
const CLOCK_MS = 1_000;

export class Desk {
  /** @type {LinkState} */
  #link = "connecting";
  #known = false; // whether the server has said which sessions there are
  #frame = 0; // that has been asked for, to draw
  #arranging = true;
  #latestAt = 0; // when the latest summaries came
  /** @type {string | null} the card that was pressed */
  #cameFrom = null;
  #panel = new Panel();
  #store = new Store((session) => this.#onCritical(session));
  #grid = new Grid($("cards"), {
    onHold: (held) => this.#onHold(held),
    onSeen: () => this.#refresh(),
  });
  #filters = new Filters({
    onFilter: () => {
      this.#arrange();
      this.#refresh();
    },
    onOrder: () => this.#arrange(),
  });
  #notifier = new Notifier({
    sound: $("notify-sound", HTMLInputElement),
    desktop: $("notify-desktop", HTMLInputElement),
    onDenied: () => notify("denied", "warn", "desk.notify.denied"),
  });
  #feed = new Feed(
    {
      onState: (state) => this.#onState(state),
      onSummaries: (message) => this.#onSummaries(message),
      onSession: (message) => {
        this.#panel.update(message);
        this.#drawSoon();
      },
      onRefused: (error) => this.#onRefused(error),
      onMissing: () => this.#panel.missing(),
    },
    keptToken(TOKEN_KEY),
  );

  /** Connect, and show what there is to show. */
  connect() {
    setInterval(() => {
      this.#refresh();
      this.#drawSoon();
    }, CLOCK_MS);
    setInterval(() => this.#arrangeSoon(), ORDER_MS);
    addEventListener("online", () => this.#link === "offline" && this.#feed.connect());
    addEventListener("hashchange", () => this.#follow());
    $("back").onclick = () => (location.hash = "");
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#panel.id && !asksToken()) location.hash = "";
    });
    this.#follow();
    this.#feed.connect();
  }

  // -- what the feed tells -------------------------------------------------------------------------

  /** @param {LinkState} state */
  #onState(state) {
    this.#link = state;
    showConnection(state === "closed" ? "offline" : state);
    document.body.dataset.link = state;
    clearNotice("away");
    if (state === "online")
      for (const code of ["CLOSED", "TOO_MANY_SESSIONS", "UNAUTHORIZED"]) clearNotice(code);
    if (state === "unauthorized") askToken((token) => this.#feed.connect(token), TOKEN_KEY);
    if (state === "offline" && this.#known) {
      notify("away", "warn", "desk.away", null, { time: new Date(this.#latestAt).toLocaleTimeString() });
    }
    this.#showEmpty();
    this.#drawSoon();
  }

  /** @param {SummariesMessage} message */
  #onSummaries(message) {
    this.#latestAt = Date.now();
    this.#known = true;
    this.#store.update(message, performance.now());
    const misplaced = [...this.#store.sessions.values()].some(isMisplaced);
    if (message.whole || message.gone.length || misplaced) this.#arrangeSoon();
    this.#drawSoon();
  }

  /** @param {ServerError} error */
  #onRefused(error) {
    notifyError(error, error.code === "CLOSED" ? "error" : "warn");
  }

  /** @param {Session} session */
  #onCritical(session) {
    const { worst } = session.alerts;
    this.#notifier.alert(session);
    const level = () => t("level.critical");
    say($("announce"), "alert.said", { level, name: title(session), ...(worst ? messageOf(worst) : {}) });
  }

  // -- drawing -------------------------------------------------------------------------------------

  #drawSoon() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #arrangeSoon() {
    this.#arranging = true;
    this.#drawSoon();
  }

  /** @param {boolean} held */
  #onHold(held) {
    $("held").hidden = !held;
    if (!held) this.#arrangeSoon();
  }

  /** What changes by itself on the cards, while the server is there to say so. */
  #refresh() {
    if (this.#link !== "online") return;
    this.#grid.refresh(this.#store.sessions, performance.now());
  }

  #draw() {
    this.#frame = 0;
    const now = performance.now();
    const { sessions } = this.#store;
    this.#grid.update(sessions, this.#store.changes(), now);
    if (this.#arranging && !this.#grid.held) this.#arrange();
    this.#filters.showTotals(this.#store.totals);
    this.#filters.showChoices(this.#store);
    this.#showEmpty();
    if (!this.#panel.id) return;
    const session = sessions.get(this.#panel.id);
    if (session) this.#panel.show(session, now, this.#link === "online" ? null : this.#latestAt);
    else if (this.#panel.loaded) this.#panel.gone();
  }

  #arrange() {
    this.#arranging = false;
    const { sessions } = this.#store;
    const { filter, order } = this.#filters;
    const inOrder = [...this.#grid.cards.keys()].flatMap((id) => sessions.get(id) ?? []);
    const shown = sorted(inOrder, order).filter((session) => matches(session, filter));
    this.#grid.arrange(
      shown.map(({ session_id: id }) => id),
      sessions,
    );
    this.#filters.showCount(shown.length, sessions.size);
  }

  #showEmpty() {
    $("empty").hidden = !(this.#known && this.#link === "online" && this.#store.sessions.size === 0);
  }

  // -- one session ---------------------------------------------------------------------------------

  /** Open what the address names, or close what was open. */
  #follow() {
    const [, named] = location.hash.match(/^#session\/(.+)$/) ?? [];
    const id = named ? decodeURIComponent(named) : null;
    if (id === this.#panel.id) return;
    if (id) this.#open(id);
    else this.#close();
    for (const card of this.#grid.cards.values()) card.element.dataset.chosen = String(card.id === id);
    this.#feed.open(id);
    this.#drawSoon();
  }

  /** @param {string} id */
  #open(id) {
    this.#cameFrom ??= Card.around(document.activeElement)?.id ?? id;
    document.body.dataset.open = "true";
    $("panel").hidden = false;
    this.#panel.open(id);
    $("panel-title").focus();
    if (matchMedia("(max-width: 1099px)").matches) scrollTo(0, 0);
  }

  #close() {
    this.#panel.close();
    delete document.body.dataset.open;
    $("panel").hidden = true;
    if (this.#cameFrom) this.#grid.cards.get(this.#cameFrom)?.focus();
    this.#cameFrom = null;
  }
}
