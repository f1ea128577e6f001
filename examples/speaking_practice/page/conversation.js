// One recording's conversation with the server, over as many WebSockets as it takes.

const PIECE = 256 * 1024;
const LONGEST_PAUSE_MS = 10_000;

export class Conversation {
  /** Begin to send a recording, or follow the task of an earlier one. `hears` has a function for each type of message,
      and `lost`. */
  constructor(resource, hears, task = null) {
    Object.assign(this, { resource, hears, task, chunks: [], end: null, after: 0, pauseMs: 500, isOver: false });
    this.key = newKey();
    this.connect();
  }

  /** Send a piece of the recording, a Blob. */
  add(chunk) {
    for (let from = 0; from < chunk.size; from += PIECE) this.chunks.push(chunk.slice(from, from + PIECE));
    this.flush();
  }

  /** The recording is complete. */
  finish(userName) {
    this.end = JSON.stringify({ type: "end", user_name: userName, key: this.key });
    this.flush();
  }

  cancel() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "cancel" }));
  }

  // Until there is an id all is sent anew on each connection: its key makes it the same task. Then that is followed.
  connect() {
    const query = this.task ? `?task=${encodeURIComponent(this.task)}&after=${this.after}` : "";
    const url = new URL(`/ws/speak/${encodeURIComponent(this.resource)}${query}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.unsent = this.task ? null : 0;
    this.socket = new WebSocket(url);
    this.socket.onopen = () => this.flush();
    this.socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    this.socket.onclose = () => this.isOver || this.again();
  }

  flush() {
    if (this.unsent === null || this.socket.readyState !== WebSocket.OPEN) return;
    while (this.unsent < this.chunks.length) this.socket.send(this.chunks[this.unsent++]);
    if (this.end === null) return;
    this.socket.send(this.end);
    this.unsent = null;
  }

  hear(message) {
    this.pauseMs = 500;
    this.after = message.seq ?? this.after;
    if (message.type === "accepted") this.task = message.task_id;
    this.isOver = message.type === "result" || message.type === "error";
    this.hears[message.type]?.(message);
  }

  again() {
    this.hears.lost();
    setTimeout(() => this.connect(), this.pauseMs);
    this.pauseMs = Math.min(2 * this.pauseMs, LONGEST_PAUSE_MS);
  }
}

// crypto.randomUUID is missing on plain http
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
