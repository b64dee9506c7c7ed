/* Asks the server now and then how it is: which model, on what, ready or not. */

const WHEN_READY_MS = 15_000;
const WHEN_NOT_MS = 2_000;

/** `onAnswer` gets each answer of GET api/v1/status, `onNone` the HTTP status of a refusal, or 0 where nobody
    answers; `.now()` asks at once. `token()`: the access token, if any. */
export function watchStatus(token, onAnswer, onNone = () => {}) {
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
      } else {
        onNone(response.status);
      }
    } catch {
      wait = WHEN_NOT_MS;
      onNone(0);
    }
    clearTimeout(timer); // two may have been under way
    timer = setTimeout(ask, wait);
  }
  return { now: ask };
}
