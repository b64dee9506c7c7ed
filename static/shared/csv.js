/* Tables as CSV files that any spreadsheet opens: quoted as RFC 4180 says, with a mark that makes Excel read
   UTF-8, and with no text that a spreadsheet would run as a formula: names come from anywhere. No page. */

/** @typedef {string | number | boolean | null | undefined} Cell */

/** @param {Cell[][]} rows the head first */
export function csvOf(rows) {
  return `\uFEFF${rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("")}`;
}

/** @param {Cell} value */
export function cell(value) {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") return String(value);
  const text = /^\s*[=+\-@＝＋－＠\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}
