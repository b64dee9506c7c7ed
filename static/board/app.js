/* The board: its words, its header, and the map that the server of this address holds. */

import { buildFrame } from "../shared/header.js";
import { addWords } from "../shared/text.js";
import { Board } from "./board.js";
import { WORDS } from "./words.js";

addWords(WORDS);
buildFrame();
new Board().open();
