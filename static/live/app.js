/* The live page: its words, its header, the status of the server, and the run that its button starts and stops. */

import { buildHeader } from "../shared/header.js";
import { watchStatus } from "../shared/status.js";
import { addWords } from "../shared/text.js";
import { Run } from "./run.js";
import * as view from "./view.js";
import { WORDS } from "./words.js";
import { WORDS as LISTEN } from "../listen/words.js";

addWords(LISTEN);
addWords(WORDS);
buildHeader("live");
const run = new Run();
const status = watchStatus(
  () => run.token,
  ({ ready, model, device, supported_labels: labels, keeps }) => {
    view.showModel(model, device);
    if (labels) view.showSupported(labels);
    view.showKept(keeps);
    run.setReady(ready);
  },
);
run.connect({ onOnline: status.now });
