/* The desk: its words, its header, then what is its own. */

import { buildHeader } from "../shared/header.js";
import { addWords } from "../shared/text.js";
import { Desk } from "./desk.js";
import { WORDS } from "./words.js";

addWords(WORDS);
buildHeader("desk");
new Desk().connect(); // the connection is the status here: what is shown comes over it
