/* The page of recorded sessions: its words, its header, then what is its own. */

import { WORDS as LISTEN } from "../listen/words.js";
import { buildHeader } from "../shared/header.js";
import { addWords } from "../shared/text.js";
import { Sessions } from "./sessions.js";
import { WORDS } from "./words.js";

addWords(LISTEN);
addWords(WORDS);
buildHeader("sessions");
new Sessions().load();
