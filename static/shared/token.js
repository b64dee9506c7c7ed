/* The access token: asked for when the server wants one, kept for this tab only. */

import { $ } from "./parts.js";

const KEY = "emotion-stream.token";

/** `key`: where it is kept; the desk's is another than the sessions'. */
export function keptToken(key = KEY) {
  return sessionStorage.getItem(key) ?? undefined;
}

/** Ask for the token and hand it to `use`. A kept one that brought us here was wrong. */
export function askToken(use, key = KEY) {
  const dialog = $("token");
  if (dialog.open) return;
  $("token-wrong").hidden = keptToken(key) === undefined;
  $("token-input").value = "";
  dialog.querySelector("form").onsubmit = () => {
    const token = $("token-input").value;
    sessionStorage.setItem(key, token);
    use(token);
  };
  $("token-cancel").onclick = () => dialog.close();
  dialog.showModal();
}
