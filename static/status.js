/* Asks the server now and then how it is: which model, on what, ready or not. */

const WHEN_READY_MS = 15_000;
const WHEN_NOT_MS = 2_000;

/** `onAnswer` gets each answer of GET api/v1/status; `.now()` asks at once. `token()`: the access token, if any. */
export function watchStatus(token, onAnswer) {
  let timer;
  async function ask() {
    clearTimeout(timer);
    let wait = WHEN_READY_MS;
    try {
      const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
      const response = await fetch("api/v1/status", { headers });
      const answer = await response.json();
      if (typeof answer.ready === "boolean") {
        onAnswer(answer);
        if (!answer.ready) wait = WHEN_NOT_MS;
      }
    } catch {
      // No server just now: the connection says so, and asks again when it is back.
    }
    clearTimeout(timer); // two may have been under way
    timer = setTimeout(ask, wait);
  }
  return { now: ask };
}
