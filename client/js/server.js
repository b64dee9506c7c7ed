/* Where the server is: the address that was given, else the one that this module was loaded from. */

const LOADED_FROM = new URL("..", import.meta.url);

/** The server's root as a URL that ends with a slash, so that a server behind a path (`/emotion/`) is found.
 *  @param {string | URL} [url] */
export function rootOf(url) {
  const root = url === undefined ? new URL(LOADED_FROM) : new URL(url, globalThis.document?.baseURI);
  root.search = root.hash = "";
  if (!root.pathname.endsWith("/")) root.pathname += "/";
  return root;
}
