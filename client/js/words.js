/* What this client itself has to say, in English and in Chinese. The server speaks for itself, in the client's
   language. */

/** @type {Record<string, string>} */
// prettier-ignore
const CHINESE = {
  "browsers give the microphone only to https pages and to localhost": "浏览器只把麦克风交给 https 页面和 localhost",
  "this browser has no AudioWorklet": "此浏览器没有 AudioWorklet",
  "the microphone was not allowed": "未获准使用麦克风",
  "no microphone was found": "没有找到麦克风",
  "another program holds the microphone": "麦克风正被其他程序占用",
  "the microphone could not be opened": "无法打开麦克风",
  "the browser did not start its audio": "浏览器没有启动音频",
  "the microphone was closed before it was open": "麦克风在打开之前就已关闭",
  "no answer to {event}": "{event} 没有得到应答",
  "Socket.IO is missing: pass it as the option `io`, or see docs/client-browser.md": "缺少 Socket.IO：请以选项 `io` 传入，或参阅 docs/client-browser.md",
  "no session with the server within {s} s": "{s} 秒内未能与服务器建立会话",
  "no token, or a wrong one": "没有令牌，或令牌有误",
  "the stream has been stopped": "这个流已经停止",
  "the stream was closed": "这个流已经关闭",
  "this stream has a session; stop it first": "这个流已有会话；请先停止它",
  "there is no session to stop": "没有可以停止的会话",
  "the connection broke at the end: everything was scored, the summary is lost": "连接在结束时中断：全部音频已评分，但没有收到汇总",
  "the connection broke before the answer came; is the server up, and does it take files this large?": "还没有得到应答，连接就中断了；服务器在运行吗，它接受这么大的文件吗？",
  "the answer ended without a result": "应答没有给出结果就结束了",
  "not an answer of an emotion-stream server: {text}": "不是 emotion-stream 服务器的应答：{text}",
};

/** `text`, with `values` in its places, in `language`; by default the browser's.
 *  @param {string} text @param {string} [language] @param {Record<string, unknown>} [values] */
export function said(text, language, values = {}) {
  const wanted = language ?? globalThis.navigator?.language ?? "en";
  const words = wanted.toLowerCase().startsWith("zh") ? (CHINESE[text] ?? text) : text;
  return words.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}
