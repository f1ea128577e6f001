// The page: pick a sentence, record it, follow its task. What follows a task survives a reload: its id is in the address.
import { Recorder } from "./recorder.js";
import { Conversation } from "./conversation.js";

const at = (id) => document.getElementById(id);
const address = new URL(location.href);
let conversation = null; // while one goes on
let recorder = null; // while it records
let chunks = []; // of the latest recording, to be heard again
let mostBytes = 0;

// Sentences

async function begin() {
  const told = await (await fetch("/api/practice")).json();
  mostBytes = told.most_bytes;
  at("name").value = told.user_name;
  at("choices").replaceChildren(...told.resources.map(choice));
  const asked = address.searchParams.get("resource");
  const first = told.resources.find(({ id }) => id === asked) ?? told.resources[0];
  document.querySelector(`input[value="${first.id}"]`).checked = true;
  await show(first.id);
  const task = address.searchParams.get("task");
  if (!task) return;
  converse(first.id, task);
  wait();
}

function choice({ id, sentence, rating }) {
  const label = Object.assign(document.createElement("label"), { className: "choice" });
  const input = Object.assign(document.createElement("input"), { type: "radio", name: "resource", value: id });
  const text = Object.assign(document.createElement("span"), { textContent: sentence });
  input.addEventListener("change", () => {
    remember(id, null);
    show(id);
  });
  label.append(input, text);
  if (rating !== null) label.append(Object.assign(document.createElement("small"), { textContent: `★ ${rating.toFixed(1)}`, title: "the rating of all learners" }));
  return label;
}

async function show(id) {
  const { sentence } = await (await fetch(`/api/resources/${id}`)).json();
  at("sentence").textContent = sentence;
  at("outcome").hidden = true;
  at("told").textContent = ""; // which hides it
}

const chosen = () => document.querySelector("[name=resource]:checked").value;

function remember(resource, task) {
  address.search = new URLSearchParams(task ? { resource, task } : { resource });
  history.replaceState(null, "", address);
}

// Recording

at("record").addEventListener("click", () => (recorder ? recorder.stop() : record()));

async function record() {
  at("record").disabled = true; // the browser asks the person first
  try {
    recorder = await Recorder.start({ onTick: tick, onChunk: keep, onStop: recorded });
  } catch (error) {
    say(`The microphone cannot be used: ${error.message} You can choose a file instead.`, { wrong: true });
    return;
  } finally {
    at("record").disabled = false;
  }
  converse(chosen());
  at("record").setAttribute("aria-pressed", "true");
  at("record-label").textContent = "Stop";
  say("Recording. Say the sentence, then press Stop.");
}

function tick(seconds) {
  at("timer").hidden = false;
  at("timer").textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

function keep(chunk) {
  chunks.push(chunk);
  conversation?.add(chunk);
}

function recorded() {
  recorder = null;
  at("record").setAttribute("aria-pressed", "false");
  at("record-label").textContent = "Record";
  at("timer").hidden = true;
  if (conversation) finish();
}

at("file").addEventListener("change", () => {
  const [file] = at("file").files;
  at("file").value = "";
  if (!file) return;
  if (file.size > mostBytes) {
    say(`The file is larger than ${mostBytes >> 20} MB. Choose a shorter one.`, { wrong: true });
    return;
  }
  converse(chosen());
  keep(file);
  finish();
});

// One conversation with the server

function converse(resource, task = null) {
  chunks = [];
  at("outcome").hidden = true;
  at("sentences").disabled = true;
  conversation = new Conversation(resource, hears, task);
}

function finish() {
  at("again").src = URL.createObjectURL(new Blob(chunks, { type: chunks[0]?.type }));
  at("again").hidden = false;
  conversation.finish(at("name").value);
  wait();
}

function wait() {
  at("saying").disabled = true;
  say("Sending your recording…", { fraction: 0 });
}

const hears = {
  accepted: ({ task_id: task }) => {
    remember(chosen(), task);
    at("cancel").hidden = false;
    say("Your recording is safe. Waiting for its turn…", { fraction: 0 });
  },
  progress: ({ message, fraction }) => say(message, { fraction }),
  lost: () => say("The connection is lost; your recording is not. Trying again…", { fraction: null }),
  error: ({ message }) => end(message),
  result: (told) => {
    if (told.status === "cancelled") return end("Cancelled. Nothing was scored.");
    if (told.status !== "success") return end(told.error ?? "Something went wrong. Please try again.");
    end(null);
    showResult(told);
  },
};

at("cancel").addEventListener("click", () => conversation?.cancel());
at("retry").addEventListener("click", () => {
  at("outcome").hidden = true;
  at("record").focus();
});

function end(trouble) {
  conversation = null;
  recorder?.stop();
  at("sentences").disabled = at("saying").disabled = false;
  at("cancel").hidden = true;
  if (!trouble) return;
  say(trouble, { wrong: true });
  remember(chosen(), null);
}

function say(words, { fraction, wrong = false } = {}) {
  if (at("told").textContent !== words) at("told").textContent = words;
  at("told").classList.toggle("wrong", wrong);
  at("progress").hidden = fraction === undefined;
  if (typeof fraction === "number") at("progress").value = fraction;
  else at("progress").removeAttribute("value");
  at("status").scrollIntoView({ block: "nearest" });
}

function showResult({ result, rating }) {
  say(`Done: ${result.percent} % of the words were heard.`);
  at("percent").textContent = `${result.percent} %`;
  at("rating").textContent = rating === null ? "–" : `★ ${rating.toFixed(1)}`;
  at("words").replaceChildren(...result.words.flatMap((word) => [spoken(word), " "]));
  at("extra").textContent = result.extra ? `and ${result.extra} more word${result.extra === 1 ? "" : "s"}` : "";
  at("transcript").textContent = result.transcript;
  at("outcome").hidden = false;
  at("outcome").focus();
}

function spoken({ text, is_said: isSaid }) {
  const word = Object.assign(document.createElement("span"), { textContent: text, className: isSaid ? "said" : "missed" });
  if (!isSaid) word.append(Object.assign(document.createElement("span"), { textContent: " (missed)", className: "unseen" }));
  return word;
}

begin().catch(() => say("The server does not answer. Reload the page in a moment.", { wrong: true }));
