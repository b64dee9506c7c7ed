/* The access token: asked for when the server wants one, kept for this tab only. */

import { make } from "./parts.js";

const KEY = "emotion-stream.token";

/** `key`: where it is kept; the desk's is another than the sessions'. */
export function keptToken(key = KEY) {
  return sessionStorage.getItem(key) ?? undefined;
}

/** @type {HTMLDialogElement | undefined} */
let dialog; // the latest one

export function asksToken() {
  return dialog?.open ?? false;
}

/** Ask for the token and hand it to `use`. A kept one that brought us here was wrong.
 *  @param {(token: string) => void} use */
export function askToken(use, key = KEY) {
  if (asksToken()) return;
  const input = make("input", { type: "password", autocomplete: "off", required: "" });
  const cancel = make("button", { class: "quiet", type: "button", "data-t": "cancel" });
  const form = make(
    "form",
    { method: "dialog" },
    make("h2", { id: "token-title", "data-t": "token.title" }),
    make("p", { "data-t": "token.text" }),
    ...(keptToken(key) === undefined
      ? []
      : [make("p", { class: "wrong", role: "alert", "data-t": "token.wrong" })]),
    make("label", {}, make("span", { "data-t": "token.label" }), input),
    make(
      "div",
      { class: "row" },
      cancel,
      make("button", { class: "primary", type: "submit", "data-t": "token.use" }),
    ),
  );
  const asking = make("dialog", { "aria-labelledby": "token-title" }, form);
  dialog = asking;
  form.onsubmit = () => {
    sessionStorage.setItem(key, input.value);
    use(input.value);
  };
  cancel.onclick = () => asking.close();
  asking.onclose = () => asking.remove();
  document.body.append(asking);
  asking.showModal();
}
