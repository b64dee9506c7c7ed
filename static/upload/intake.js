/* How files get in: dropped anywhere on the page, chosen, or pasted. Of a dropped folder the recordings are
   taken, however deep; a file that was given by itself is taken whatever it is called. */

import { $ } from "../shared/parts.js";

const RECORDING = /\.(wav|mp3|m4a|mp4|aac|flac|ogg|oga|opus|webm|aif|aiff|au|caf|w64)$/i;

/** `onFiles(files)` gets each lot.
 *  @param {(files: File[]) => void} onFiles */
export function takeFiles(onFiles) {
  /** @param {File[]} files */
  const give = (files) => files.length && onFiles(files);
  const input = $("input", HTMLInputElement);
  let depth = 0; // dragenter and dragleave come for every element on the way
  const over = (/** @type {number} */ by) => {
    depth = by ? depth + by : 0;
    $("drop").dataset.over = String(depth > 0);
  };
  $("choose").onclick = () => input.click();
  input.onchange = () => {
    give([...(input.files ?? [])]);
    input.value = ""; // so that the same file can be chosen again
  };
  addEventListener("dragenter", (event) => hasFiles(event) && over(1));
  addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!hasFiles(event) || !event.dataTransfer) return;
    event.preventDefault();
    over(0);
    give(await dropped(event.dataTransfer));
  });
  addEventListener("paste", (event) => give([...(event.clipboardData?.files ?? [])]));
}

/** @param {DragEvent} event */
function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

/** @param {DataTransfer} transfer */
async function dropped(transfer) {
  // Now: they are gone after an await.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  const plain = [...transfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) return plain;
  /** @type {File[]} */
  const found = [];
  for (const entry of entries) if (entry) await walk(entry, found, !entry.isDirectory);
  return found;
}

/** @param {FileSystemEntry} entry @param {File[]} found @param {boolean} asked whether it was given by itself */
async function walk(entry, found, asked) {
  if (isFile(entry)) {
    if (!asked && !RECORDING.test(entry.name)) return;
    found.push(await new Promise((done, failed) => entry.file(done, failed)));
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((done, failed) => reader.readEntries(done, failed)); // in lots of 100
    if (!some.length) return;
    for (const inner of some) await walk(inner, found, false);
  }
}

/** @param {FileSystemEntry} entry @returns {entry is FileSystemFileEntry} */
function isFile(entry) {
  return entry.isFile;
}
