/* Names of an earlier version: they work for one version more, and say once what to write instead. */

/** @type {Set<string>} */
const warned = new Set();

/** @param {string} old @param {string} now */
export function warnRenamed(old, now) {
  const text = `emotion-stream: '${old}' is now '${now}'; the old name goes with version 0.3.0`;
  if (warned.has(text)) return;
  warned.add(text);
  console.warn(text);
}

/** The option `name`, which may be given under its old name, `patience`; undefined where neither is.
 *  @template {string} Name
 *  @param {{[option in Name | "patience"]?: number}} options @param {Name} name */
export function timeoutOf(options, name) {
  if (options.patience !== undefined) warnRenamed("patience", name);
  return options[name] ?? options.patience;
}
