/* What the board asks of its server. Every address is below that of the page, which holds a secret. */

import { currentLanguage } from "../shared/text.js";

/** @typedef {{folder: string, model: string, method: string, groups: number, loose: boolean, laid_out: number,
 *             x: number[], y: number[], group: number[], name: string[], emotion: string[], confidence: number[],
 *             duration_s: number[], scored: string[], label: (string | null)[], colors: string[],
 *             page: (string | null)[], labels_zh: string[], fewest: number, longest: number}} MapData
 *    a list of each is in the order of the recordings */
/** @typedef {{uar: number, uar_interval_95: [number, number], chance: number, better_than_chance: boolean,
 *             accuracy: number, recall: Record<string, number>, clips: Record<string, number>,
 *             folds_keep_sub_folders_together: boolean, name: string, where: string, few: boolean,
 *             doubles: number, command: string}} Taught */

/** The server's refusal: `code` has words on the page, `values` fill them. */
export class Refused extends Error {
  /** @param {string} code @param {Record<string, unknown>} values */
  constructor(code, values) {
    super(code);
    this.code = code;
    this.values = values;
  }
}

/** @returns {Promise<MapData>} */
export const fetchMap = () => call("map");

/** Give recordings a label, or with null take theirs away.
 *  @param {number[]} numbers @param {string | null} label */
export const saveLabel = (numbers, label) => call("labels", { numbers, label });

/** @param {string} name @param {boolean} replace
 *  @returns {Promise<Taught>} */
export const teachLabels = (name, replace) => call("teach", { name, replace });

/** @param {number} number */
export const audioUrl = (number) => `audio/${number}`;

/** @param {string} path @param {object} [body]
 *  @returns {Promise<any>} */
async function call(path, body) {
  const language = { "Accept-Language": currentLanguage() };
  const post = {
    method: "POST",
    headers: { "Content-Type": "application/json", ...language },
    body: JSON.stringify(body),
  };
  let response;
  let answer;
  try {
    response = await fetch(path, body ? post : { headers: language });
    answer = await response.json();
  } catch {
    throw new Refused("GONE", {});
  }
  if (response.ok) return answer;
  const { code = "OTHER", ...values } = answer.error ?? {};
  throw new Refused(code, { message: "", ...values });
}
