/* The page of files, and that of one result that is kept: their words, their header, the status of the server. */

import { buildHeader } from "../shared/header.js";
import { watchStatus } from "../shared/status.js";
import { addWords } from "../shared/text.js";
import { keptToken } from "../shared/token.js";
import { Files } from "./files.js";
import { Kept } from "./kept.js";
import { WORDS as LISTEN } from "../listen/words.js";
import { WORDS } from "./words.js";

addWords(LISTEN);
addWords(WORDS);
buildHeader("files");
const page = location.pathname.endsWith("/result") ? new Kept() : new Files();
const status = watchStatus(
  keptToken,
  (answer) => page.onStatus(answer),
  (httpStatus) => page.onNoStatus(httpStatus),
);
page.start({ askStatus: status.now });
