// One channel of the chat: its history, then what is written, as it is written.

import { byId, html, setText } from "./dom.js";
import { clock } from "./format.js";
import { post } from "./services.js";

const HISTORY = 100; // messages shown when a channel is opened
const KEPT = 300; // messages shown at all
const RETRY = 2000; // ms before another attempt when the server has refused the stream

export function chatPanel() {
  const list = byId("chat-messages");
  const [join, send] = [byId("chat-join"), byId("chat-send")];
  let session = null;

  const open = () => {
    session?.close();
    session = document.hidden ? null : new Session(join.elements.channel.value.trim(), list);
  };
  join.addEventListener("submit", (event) => {
    event.preventDefault();
    list.replaceChildren();
    open();
  });
  send.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { author, text } = send.elements;
    const said = text.value;
    if (!said.trim()) return;
    text.value = "";
    try {
      await post(`/chat/channels/${encodeURIComponent(session.channel)}/messages`, { author: author.value.trim(), text: said });
    } catch (error) {
      if (!text.value) text.value = said; // nothing typed is lost
      status(`not sent: ${error.message}`, true);
    }
  });
  byId("chat-channel").addEventListener("focus", offerChannels);
  // A browser opens six connections to a server: streams of hidden tabs would use them up.
  document.addEventListener("visibilitychange", () => (document.hidden ? session?.close() : open()));
  open();
}

function status(text, failed = false) {
  const element = byId("chat-status");
  setText(element, text);
  element.classList.toggle("failed", failed);
}

async function offerChannels() {
  const answer = await fetch("/chat/channels").catch(() => null);
  if (!answer?.ok) return;
  const channels = await answer.json();
  byId("chat-channels").replaceChildren(...channels.map(({ channel }) => html("option", { value: channel })));
}

/** Follows one channel until closed. The stream is opened before the history is read: nothing falls in between. */
class Session {
  #list;
  #source = null;
  #retry = 0;
  #closed = false;

  constructor(channel, list) {
    this.channel = channel;
    this.#list = list;
    this.#connect();
  }

  close() {
    this.#closed = true;
    this.#source?.close();
    clearTimeout(this.#retry);
  }

  get #path() {
    return `/chat/channels/${encodeURIComponent(this.channel)}`;
  }

  #connect() {
    status("connecting");
    this.#source = new EventSource(`${this.#path}/events`);
    this.#source.onopen = () => this.#catchUp();
    this.#source.onmessage = ({ data }) => this.#show(JSON.parse(data));
    this.#source.onerror = () => {
      if (this.#closed) return;
      status("not connected, trying again", true);
      if (this.#source.readyState !== EventSource.CLOSED) return; // it tries again by itself
      this.#retry = setTimeout(() => this.#connect(), RETRY);
    };
  }

  async #catchUp() {
    const answer = await fetch(`${this.#path}/messages?limit=${HISTORY}`).catch(() => null);
    if (this.#closed) return;
    if (answer?.ok) for (const message of await answer.json()) this.#show(message);
    status(answer?.ok ? `live in #${this.channel}` : `live in #${this.channel}, without its history`, !answer?.ok);
  }

  #show({ id, author, text, at }) {
    if (this.#closed || this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`)) return;
    const following = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 60;
    const item = html(
      "li",
      {},
      html("bdi", { className: "author" }, author),
      html("time", { dateTime: new Date(at).toISOString() }, clock(at / 1000)),
      html("p", {}, text),
    );
    item.dataset.id = id;
    const before = [...this.#list.children].findLast((other) => other.dataset.id < id); // ids sort as the channel does
    if (before) before.after(item);
    else this.#list.prepend(item);
    while (this.#list.children.length > KEPT) this.#list.firstElementChild.remove();
    if (following) this.#list.scrollTop = this.#list.scrollHeight;
  }
}
