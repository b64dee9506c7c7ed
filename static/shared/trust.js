/* How far to believe what is shown: a sheet that every page opens from its header. The figures are the model's own
   (`measured` of GET api/v1/status); of a model that has none it says so. */

import { emotionOf } from "./emotions.js";
import { make } from "./parts.js";
import { currentLanguage, names, percent, t } from "./text.js";
import { keptToken } from "./token.js";

/** @typedef {{languages?: string[], acted?: boolean, strangers?: {right: number, later: number, chance: number},
 *             unsure?: {share: number, right: number, others_right: number},
 *             labels?: Record<string, Record<import("./text.js").Language, string>>}} Measured */

/** A button for the header. */
export function trustButton() {
  const button = make("button", { class: "quiet trust", type: "button", id: "trust", "data-t": "trust" });
  button.onclick = open;
  return button;
}

async function open() {
  const close = make("button", { class: "primary", type: "submit", "data-t": "close" });
  const said = make("div", { class: "told" });
  const sheet = make(
    "dialog",
    { class: "sheet", "aria-labelledby": "trust-title" },
    make(
      "form",
      { method: "dialog" },
      make("h2", { id: "trust-title", "data-t": "trust.title" }),
      said,
      make("div", { class: "row" }, close),
    ),
  );
  sheet.onclose = () => sheet.remove();
  document.body.append(sheet);
  sheet.showModal();
  const { model = "", measured = null } = await status();
  said.append(...sentences(model, measured), ...notes(measured ?? {}));
}

/** @returns {Promise<{model?: string, measured?: Measured | null}>} */
async function status() {
  const token = keptToken();
  const headers = token ? { Authorization: `Bearer ${token}` } : undefined;
  try {
    const answer = await fetch("api/v1/status", { headers });
    return answer.ok ? await answer.json() : {};
  } catch {
    return {};
  }
}

/** @param {string} model @param {Measured | null} measured */
function sentences(model, measured) {
  const { strangers, unsure, languages, acted } = measured ?? {};
  const p = (/** @type {string} */ key, values = {}) => make("p", {}, t(key, { model, ...values }));
  const spoken = new Intl.DisplayNames(currentLanguage(), { type: "language" });
  const list = new Intl.ListFormat(currentLanguage());
  return [
    p("trust.sound"),
    strangers &&
      p("trust.strangers", {
        right: percent(strangers.right),
        later: percent(strangers.later),
        chance: percent(strangers.chance),
      }),
    unsure && p("trust.unsure", { right: percent(unsure.right), others: percent(unsure.others_right) }),
    languages &&
      p(acted ? "trust.acted" : "trust.languages", {
        languages: list.format(languages.map((code) => spoken.of(code) ?? code)),
      }),
    !strangers && p(model ? "trust.unmeasured" : "trust.unknown"),
    p("trust.not"),
  ].filter((part) => part !== undefined && part !== false);
}

/** What labels mean to this model, where that is not what everybody would think.
 *  @param {Measured} measured */
function notes({ labels = {} }) {
  const rows = Object.entries(labels).map(([label, meaning]) =>
    make(
      "li",
      {},
      make("span", { class: "emoji", "aria-hidden": "true" }, emotionOf(label).emoji),
      make("b", {}, names(label)[0]),
      make("span", {}, meaning[currentLanguage()]),
    ),
  );
  return rows.length ? [make("h3", {}, t("trust.labels")), make("ul", {}, ...rows)] : [];
}
