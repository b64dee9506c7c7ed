/* A recording goes from one page of ours to another without leaving the browser: the tab that was opened asks, the
   one that opened it gives. Nothing is stored on the way, and no other site is asked or answered. */

const ASK = "emotion-stream: which recording?";

/** Open the page of files with `file`.
 *  @param {File} file */
export function openInFiles(file) {
  const page = open("upload");
  addEventListener("message", function give({ source, origin, data }) {
    if (source !== page || origin !== location.origin || data !== ASK) return;
    removeEventListener("message", give);
    page?.postMessage(file, origin);
  });
}

/** Take what the page that opened this one has for it, if it has.
 *  @param {(file: File) => void} take */
export function takeHandedOver(take) {
  const giver = /** @type {Window | null} */ (opener);
  if (!giver) return;
  addEventListener("message", ({ source, origin, data }) => {
    if (source === giver && origin === location.origin && data instanceof File) take(data);
  });
  giver.postMessage(ASK, location.origin);
}
