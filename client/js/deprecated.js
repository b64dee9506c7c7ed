/* Names of an earlier version: they work for one version more, and say once what to write instead. */

/** @type {Set<string>} */
const warned = new Set();

/** @param {string} old @param {string} now */
export function warnRenamed(old, now) {
  if (warned.has(old)) return;
  warned.add(old);
  console.warn(`emotion-stream: '${old}' is now '${now}'; the old name goes with version 0.3.0`);
}

/** `timeoutS` of options that may hold it under its old name, `patience`; undefined where neither is given.
 *  @param {{timeoutS?: number, patience?: number}} options */
export function timeoutOf({ timeoutS, patience }) {
  if (patience !== undefined) warnRenamed("patience", "timeoutS");
  return timeoutS ?? patience;
}
