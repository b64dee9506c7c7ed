/* The access token: asked for when the server wants one, kept for this tab only. */

import { $ } from "./view.js";

const KEY = "emotion-stream.token";

export function keptToken() {
  return sessionStorage.getItem(KEY) ?? undefined;
}

/** Ask for the token and hand it to `use`. A kept one that brought us here was wrong. */
export function askToken(use) {
  const dialog = $("token");
  if (dialog.open) return;
  $("token-wrong").hidden = keptToken() === undefined;
  $("token-input").value = "";
  dialog.querySelector("form").onsubmit = () => {
    const token = $("token-input").value;
    sessionStorage.setItem(KEY, token);
    use(token);
  };
  $("token-cancel").onclick = () => dialog.close();
  dialog.showModal();
}
