// Sound from the microphone, in chunks as they come.

const MOST_S = 60;
const CHUNK_MS = 250;
const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];

export class Recorder {
  /** Ask for the microphone and record; `onChunk` is given Blobs. Throws if that is not possible. */
  static async start({ onTick, onChunk, onStop }) {
    if (!navigator.mediaDevices || !window.MediaRecorder)
      throw new Error("this browser records only on https:// and on localhost.");
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    return new Recorder(stream, onTick, onChunk, onStop);
  }

  constructor(stream, onTick, onChunk, onStop) {
    const began = performance.now();
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    this.media = new MediaRecorder(stream, mimeType ? { mimeType } : {});
    const clock = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      onTick(seconds);
      if (seconds >= MOST_S) this.stop();
    }, 200);
    this.media.ondataavailable = ({ data }) => data.size && onChunk(data);
    this.media.onstop = () => {
      clearInterval(clock);
      stream.getTracks().forEach((track) => track.stop()); // the browser's sign of an open microphone goes out
      onStop();
    };
    this.media.start(CHUNK_MS);
    onTick(0);
  }

  stop() {
    if (this.media.state !== "inactive") this.media.stop();
  }
}
