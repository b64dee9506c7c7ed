/* How files get in: dropped anywhere on the page, chosen, or pasted. Of a dropped folder the recordings are
   taken, however deep; a file that was given by itself is taken whatever it is called. */

import { $ } from "../shared/parts.js";

const RECORDING = /\.(wav|mp3|m4a|mp4|aac|flac|ogg|oga|opus|webm|aif|aiff|au|caf|w64)$/i;

/** `onFiles(files)` gets each lot. */
export function takeFiles(onFiles) {
  const give = (files) => files.length && onFiles(files);
  let depth = 0; // dragenter and dragleave come for every element on the way
  const over = (by) => {
    depth = by ? depth + by : 0;
    $("drop").dataset.over = depth > 0;
  };
  $("choose").onclick = () => $("input").click();
  $("input").onchange = () => {
    give([...$("input").files]);
    $("input").value = ""; // so that the same file can be chosen again
  };
  addEventListener("dragenter", (event) => hasFiles(event) && over(1));
  addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(0);
    give(await dropped(event.dataTransfer));
  });
  addEventListener("paste", (event) => give([...(event.clipboardData?.files ?? [])]));
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()); // now: they are gone after an await
  const plain = [...transfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) return plain;
  const found = [];
  for (const entry of entries) if (entry) await walk(entry, found, !entry.isDirectory);
  return found;
}

async function walk(entry, found, asked) {
  if (entry.isFile) {
    if (asked || RECORDING.test(entry.name))
      found.push(await new Promise((done, failed) => entry.file(done, failed)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed)); // in lots of 100
    if (!some.length) return;
    for (const inner of some) await walk(inner, found, false);
  }
}
