/* `flush` and `stop`: asked as often as it takes for the connection to hold until the answer. */

import { EmotionError, isRetryable } from "./errors.js";
import { ANSWER_MS } from "./session-client.js";

/** @import { Session, Summary } from "./emotion-stream.js" */
/** @import { SessionClient } from "./session-client.js" */

const RETRY_MS = 1_000;
const SETTLE_MS = 30_000; // the server scores what is left first

/** Everything so far has been scored; `stop` closes the session, too. Gives the summary, if there is one.
 *  @param {SessionClient} client @param {"flush" | "stop"} event @param {number} timeoutS
 *  @returns {Promise<Summary | undefined>} */
export async function settle(client, event, timeoutS) {
  let asked = false;
  for (;;) {
    const session = await sessionOfAllAudio(client, timeoutS);
    if (!session) return client.summary; // the server has closed it, and said everything
    const ofSession = { session_id: session.session_id };
    if (asked && event === "stop" && !session.resumed) {
      await client.link.ask("stop", ofSession, ANSWER_MS); // an empty one in its place
      const why = "the connection broke at the end: everything was scored, the summary is lost";
      throw client.wrong(why, "DISCONNECTED");
    }
    asked = true;
    const answer = await client.link.ask(event, ofSession, SETTLE_MS);
    if (answer.ok) return event === "stop" ? lastSummary(client, answer) : undefined;
    if (client.summary?.session_id === session.session_id) return client.summary; // it had come before
    const { code, message, retryable } = answer.error;
    if (code === "DISCONNECTED") client.link.renew();
    else if (!isRetryable(answer.error)) throw new EmotionError(code, message, { retryable });
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** The summary, once it has come as an event too: after all results, which may be behind the answer to `stop`.
 *  @param {SessionClient} client @param {Summary} answer */
async function lastSummary(client, answer) {
  const told = () => client.summary?.session_id === answer.session_id;
  await client.until(told, ANSWER_MS / 1000).catch(() => undefined);
  return client.summary ?? answer;
}

/** The open session, once all audio is with the server; null when the server has closed it. The time-out is for
 *  standstill: a long backlog takes the time that it takes.
 *  @param {SessionClient} client @param {number} timeoutS @returns {Promise<Session | null>} */
async function sessionOfAllAudio(client, timeoutS) {
  const closed = () => Boolean(client.summary && !client.session && !client.outbox.ms);
  const sent = () => client.session !== null && !client.outbox.ms;
  for (;;) {
    const before = client.outbox.ms;
    try {
      await client.until(() => closed() || sent(), timeoutS);
      return closed() ? null : client.session;
    } catch (problem) {
      const stalled = client.outbox.ms >= before;
      if (!(problem instanceof EmotionError) || problem.code !== "DISCONNECTED" || stalled) throw problem;
    }
  }
}
