/* The page of files: its words, its header, the status of the server, and the files that are given to it. */

import { buildHeader } from "../shared/header.js";
import { watchStatus } from "../shared/status.js";
import { addWords } from "../shared/text.js";
import { keptToken } from "../shared/token.js";
import { Files } from "./files.js";
import { WORDS } from "./words.js";

addWords(WORDS);
buildHeader("files");
const files = new Files();
const status = watchStatus(
  keptToken,
  (answer) => files.onStatus(answer),
  (httpStatus) => files.onNoStatus(httpStatus),
);
files.start({ askStatus: status.now });
