// The chat page: conversations live here, the server keeps none.

import { Markdown } from "./markdown.js";
import { EventReader } from "./sse.js";
import * as store from "./store.js";

const $ = (id) => document.getElementById(id);
const NUMBERS = ["max_new_token", "temperature", "top_p", "repetition_penalty", "seed"];
const FIELDS = [...NUMBERS, "key", "adapter", "theme"];
const THEMES = { auto: "자동", light: "밝게", dark: "어둡게" };

const talks = store.loadTalks();
const settings = store.loadSettings();
let talk = talks[0] ?? store.newTalk();
let running = null; // the AbortController of the answer that is being made
let composing = null; // the text that an input method is putting together
let composedEnter = false; // Enter was pressed while it was

// ---- small pieces

function element(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function button(label, action, description) {
  const node = element("button", "", label);
  node.type = "button";
  if (description) node.setAttribute("aria-label", description);
  node.addEventListener("click", action);
  return node;
}

function say(text) {
  $("status").textContent = text;
}

function atBottom() {
  const log = $("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
}

function scrollDown() {
  $("log").scrollTop = $("log").scrollHeight;
}

// ---- conversations

function keep(kept = talk) {
  if (kept.forgotten) return;
  if (kept.history.length > 0 && !talks.includes(kept)) talks.unshift(kept);
  if (!store.saveTalks(talks)) say("브라우저의 저장 공간이 모자라 대화를 저장하지 못했습니다.");
  drawTalks();
}

function open(other) {
  $("side").classList.remove("shown");
  $("menu").setAttribute("aria-expanded", "false");
  if (running && other === talk) return;
  running?.abort();
  talk = other;
  $("system").value = talk.system;
  drawTalks();
  drawLog();
}

function drawTalks() {
  const rows = talks.map((each) => {
    const name = button(store.titleOf(each), () => open(each));
    name.className = "open";
    if (each === talk) name.setAttribute("aria-current", "true");
    const gone = button("지우기", () => forget(each), `지우기: ${store.titleOf(each)}`);
    return element("li", "", name, gone);
  });
  $("talks").replaceChildren(...rows);
}

function forget(each) {
  if (!confirm("이 대화를 지울까요?")) return;
  each.forgotten = true; // its answer may still be on the way
  talks.splice(talks.indexOf(each), 1);
  store.saveTalks(talks);
  if (each !== talk) return drawTalks();
  open(talks[0] ?? store.newTalk());
}

function drawLog() {
  const rows = talk.history.map((entry, index) =>
    isMine(index) ? mine(entry.str, index) : theirs(entry.str, index).row,
  );
  if (rows.length === 0) rows.push(element("li", "empty", "무엇이든 물어보세요."));
  $("log").replaceChildren(...rows);
  scrollDown();
}

const isMine = (index) => index % 2 === 0;

function mine(text, index) {
  const tools = element("div", "tools", button("고치기", () => edit(index, text), "고치기: 이 질문을 고쳐서 다시 묻습니다"));
  return element("li", "mine", element("p", "who", "나"), element("div", "bubble", text), tools);
}

function theirs(text, index) {
  const bubble = element("div", "bubble");
  const tools = element("div", "tools");
  const row = element("li", "theirs", element("p", "who", "AI"), bubble, tools);
  const markdown = new Markdown(bubble);
  if (text) {
    markdown.write(text);
    markdown.end();
    finish(tools, text, index);
  }
  return { row, bubble, tools, markdown };
}

function finish(tools, text, index) {
  const last = index === talk.history.length - 1;
  const note = talk.notes[index];
  tools.replaceChildren(button("복사", () => copy(text), "복사: 이 답을 복사합니다"));
  if (last) tools.append(button("다시 답하기", again, "다시 답하기: 이 질문에 한 번 더 답하게 합니다"));
  if (note) tools.append(element("span", "", note));
}

async function copy(text) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyThroughSelection(text);
  say("복사했습니다.");
}

// Over plain http from another computer the clipboard has no other door.
function copyThroughSelection(text) {
  const box = element("textarea", "unseen");
  const focused = document.activeElement;
  box.value = text;
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
  focused?.focus();
}

function edit(index, text) {
  if (running) return;
  cutTo(index);
  $("input").value = text;
  grow();
  $("input").focus();
}

function again() {
  if (running) return;
  const index = talk.history.length - 2;
  const text = talk.history[index].str;
  cutTo(index);
  ask(text);
}

function cutTo(index) {
  talk.history = talk.history.slice(0, index);
  for (const key of Object.keys(talk.notes)) if (Number(key) >= index) delete talk.notes[key];
  keep();
  drawLog();
}

// ---- asking

function body(question) {
  const asked = { input: question, history: { count: talk.history.length / 2, history: talk.history }, stream: true };
  if (talk.system.trim()) asked.instruction = { command: talk.system };
  for (const name of NUMBERS) if (settings[name] !== "" && settings[name] != null) asked[name] = Number(settings[name]);
  if (settings.adapter) asked.adapter = settings.adapter;
  return asked;
}

function headers() {
  const sent = { "Content-Type": "application/json", "ngrok-skip-browser-warning": "1" };
  const key = (settings.key ?? "").trim();
  if (!/^[\x21-\x7e]*$/.test(key)) throw new Failure("API 키에는 빈칸 없이 영문, 숫자, 기호만 쓸 수 있습니다.", { status: 401 });
  if (key) sent.Authorization = `Bearer ${key}`;
  return sent;
}

async function ask(question) {
  if (running) return;
  const here = talk;
  const index = here.history.length;
  $("log").querySelector(".empty")?.remove();
  for (const old of $("log").querySelectorAll(".failed")) old.remove();
  const question_row = mine(question, index);
  const answer = theirs("", index + 1);
  answer.bubble.classList.add("waiting");
  $("log").append(question_row, answer.row);
  scrollDown();
  const pen = new Pen(answer);
  running = new AbortController();
  busy(true);
  const started = performance.now();
  try {
    const last = await stream(body(question), running.signal, (piece) => pen.write(piece));
    pen.end();
    if (here.forgotten) return;
    here.history = last.history.history.map(({ type, str }) => ({ type, str }));
    here.notes[index + 1] = note(last, performance.now() - started);
    settle(here, answer, index + 1, last.result);
    say(`답이 끝났습니다. ${last.result}`);
  } catch (error) {
    pen.end();
    const stopped = error.name === "AbortError";
    if (stopped && pen.text) {
      here.history = [...here.history, { type: "### 사용자", str: question }, { type: "### AI", str: pen.text }];
      here.notes[index + 1] = "멈춤";
      settle(here, answer, index + 1, pen.text);
    } else {
      answer.row.remove();
      question_row.classList.add("failed");
      if (here !== talk) return;
      if (stopped) giveBack(question);
      else $("log").append(failure(error, question));
      scrollDown();
    }
    say(stopped ? "멈췄습니다." : `오류: ${error.message}`);
  } finally {
    running = null;
    busy(false);
  }
}

// What was stopped before its first word is as if it had not been asked.
function giveBack(question) {
  $("input").value ||= question;
  grow();
  drawLog();
}

function settle(here, answer, index, text) {
  keep(here);
  if (here !== talk) return;
  for (const tools of $("log").querySelectorAll(".theirs .tools button[aria-label^='다시 답하기']")) tools.remove();
  finish(answer.tools, text, index);
}

function note(last, milliseconds) {
  const { completion_tokens: made, prompt_tokens: read } = last.usage;
  const speed = milliseconds > 0 ? (made / milliseconds) * 1000 : 0;
  const parts = [`${made}토큰`, `초당 ${speed.toFixed(1)}토큰`, `읽은 글 ${read}토큰`];
  if (last.finish_reason === "length") parts.push("길이 제한에서 잘림");
  if (last.dropped_exchanges) parts.push(`오래된 문답 ${last.dropped_exchanges}개는 빼고 답함`);
  return parts.join(" · ");
}

// What went wrong, in Korean, for the one who asked.
class Failure extends Error {
  constructor(message, { status = 0 } = {}) {
    super(message);
    this.status = status;
  }
}

async function stream(asked, signal, onPiece) {
  const sent = { method: "POST", headers: headers(), body: JSON.stringify(asked), signal };
  const answer = await orFailure(fetch("/chatweb", sent), "서버에 닿지 못했습니다. 서버가 켜져 있는지 확인해 주세요.");
  if (!answer.ok) throw await refusal(answer);
  if ((answer.headers.get("content-type") ?? "").includes("text/html"))
    throw new Failure("서버 대신 터널의 안내 화면이 왔습니다. 이 주소를 새 탭에서 한 번 열어 확인을 누른 뒤 다시 시도해 주세요.");
  const reader = new EventReader();
  const bytes = answer.body.getReader();
  for (;;) {
    const { done, value } = await orFailure(bytes.read(), BROKEN_OFF);
    if (done) throw new Failure(BROKEN_OFF);
    for (const data of reader.feed(value)) {
      const event = parsed(data);
      if (event.error) throw new Failure(event.error.message);
      if (event.delta !== undefined) onPiece(event.delta);
      else return event;
    }
  }
}

const BROKEN_OFF = "답이 중간에 끊겼습니다. 연결을 확인하고 다시 시도해 주세요.";

// The browser's own message is English: ours instead, except where the reader stopped it.
async function orFailure(promise, message) {
  try {
    return await promise;
  } catch (error) {
    throw error.name === "AbortError" ? error : new Failure(message);
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new Failure("서버가 읽을 수 없는 답을 보냈습니다.");
  }
}

async function refusal(answer) {
  const { status } = answer;
  const said = (await answer.json().catch(() => null))?.error?.message;
  if (said) return new Failure(said, { status });
  const wait = Number(answer.headers.get("retry-after"));
  const advice = wait > 0 ? `${wait}초 뒤에 다시 시도해 주세요.` : "잠시 뒤에 다시 시도해 주세요.";
  return new Failure(`서버가 답하지 못했습니다(상태 ${status}). ${advice}`, { status });
}

// Draws pieces at most once a frame.
class Pen {
  text = "";
  #ready = "";
  #frame = 0;

  constructor(answer) {
    this.answer = answer;
  }

  write(piece) {
    this.text += piece;
    this.#ready += piece;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  end() {
    cancelAnimationFrame(this.#frame);
    this.#draw();
    this.answer.markdown.end();
    this.answer.bubble.classList.remove("waiting");
  }

  #draw() {
    this.#frame = 0;
    const follow = atBottom();
    this.answer.markdown.write(this.#ready);
    this.#ready = "";
    if (follow) scrollDown();
  }
}

function failure(error, question) {
  const row = element("li", "failed");
  const retry = button("다시 시도", () => {
    if (running) return;
    row.remove();
    ask(question);
  });
  const box = element("div", "error", element("p", "", error.message), retry);
  if (error.status === 401) box.append(" ", button("키 넣기", () => showSettings(true, "key")));
  box.setAttribute("role", "alert");
  row.append(box);
  return row;
}

function busy(on) {
  const lost = [$("stop"), document.body].includes(document.activeElement);
  $("send").hidden = on;
  $("stop").hidden = !on;
  $("log").setAttribute("aria-busy", String(on));
  if (!on && lost && !matchMedia("(pointer: coarse)").matches) $("input").focus(); // pops up no keyboard
}

function send() {
  composedEnter = false;
  const text = $("input").value.trim();
  if (!text || running) return;
  $("input").value = "";
  grow();
  ask(text);
}

// Where CSS cannot: the box is as high as its text.
function grow() {
  if (CSS.supports("field-sizing", "content")) return;
  $("input").style.height = "auto";
  $("input").style.height = `${$("input").scrollHeight + 2}px`;
}

// ---- typing: one Enter sends once and whole, also while a syllable is being composed

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});

$("input").addEventListener("keydown", (event) => {
  const enter = event.key === "Enter" || event.code === "Enter" || event.code === "NumpadEnter";
  composedEnter = false;
  if (!enter || event.shiftKey) return;
  if (event.isComposing || composing !== null) {
    composedEnter = true; // the syllable is not in the box yet
    return;
  }
  event.preventDefault(); // Safari's code is 229 here too, after the composition's end
  send();
});

$("input").addEventListener("compositionstart", () => {
  composing = "";
  composedEnter = false;
});
$("input").addEventListener("compositionupdate", (event) => {
  if (event.data !== composing) composedEnter = false; // Enter chose a candidate: not meant to send
  composing = event.data;
});
$("input").addEventListener("compositionend", () => {
  composing = null;
  setTimeout(() => composedEnter && send(), 0);
});
$("input").addEventListener("input", grow);

$("stop").addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (!$("panel").hidden) {
    showSettings(false);
    $("settings").focus();
  } else if ($("side").classList.contains("shown")) {
    $("menu").click();
    $("menu").focus();
  } else running?.abort();
});

$("log").addEventListener("click", (event) => {
  if (!event.target.classList.contains("copy")) return;
  copy(event.target.parentNode.querySelector("code").textContent);
  event.target.textContent = "복사함";
});

// ---- settings, theme, files

function showSettings(on, focus) {
  $("panel").hidden = !on;
  $("settings").setAttribute("aria-expanded", String(on));
  if (on) $(focus ?? "system").focus();
}

function drawTheme() {
  const theme = settings.theme ?? "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `화면: ${THEMES[theme]}`;
}

$("panel").addEventListener("submit", (event) => event.preventDefault());
$("settings").addEventListener("click", () => showSettings($("panel").hidden));
$("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  settings.theme = names[(names.indexOf(settings.theme ?? "auto") + 1) % names.length];
  store.saveSettings(settings);
  drawTheme();
});
$("menu").addEventListener("click", () => {
  const shown = $("side").classList.toggle("shown");
  $("menu").setAttribute("aria-expanded", String(shown));
});
$("fresh").addEventListener("click", () => {
  open(store.newTalk());
  $("input").focus();
});
$("system").addEventListener("input", () => {
  talk.system = $("system").value;
  if (talks.includes(talk)) store.saveTalks(talks);
});
for (const name of FIELDS.filter((field) => $(field) && field !== "theme")) {
  $(name).value = settings[name] ?? "";
  $(name).addEventListener("change", () => {
    settings[name] = $(name).value;
    store.saveSettings(settings);
    if (name === "key") loadAdapters();
  });
}

$("export").addEventListener("click", () => {
  const file = new Blob([store.exportTalks(talks)], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = "lightkorllm-대화.json";
  link.click();
  URL.revokeObjectURL(link.href);
});
$("import").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", async () => {
  const [file] = $("file").files;
  $("file").value = "";
  if (!file) return;
  try {
    const found = store.importTalks(await file.text());
    for (const each of found) talks.push({ ...each, id: store.newTalk().id });
    store.saveTalks(talks);
    if (found.length > 0) open(talks.at(-found.length));
    say(`대화 ${found.length}개를 가져왔습니다.`);
  } catch (error) {
    alert(`가져오지 못했습니다. ${error.message}`);
  }
});

async function models() {
  const answer = await fetch("/v1/models", { headers: headers() });
  return answer.ok ? (await answer.json()).data : [];
}

// The first of the list is what answers by default; the model itself is the one without a parent.
async function loadAdapters() {
  const found = await models().catch(() => []);
  const choices = found.map(({ id, parent }) => (parent ? new Option(id) : new Option("없이", "none")));
  const names = choices.map((choice) => choice.value);
  $("adapter").replaceChildren(...choices);
  $("adapter").value = names.includes(settings.adapter) ? settings.adapter : (names[0] ?? "");
  settings.adapter = choices.length > 1 ? $("adapter").value : "";
  $("adapters").hidden = choices.length < 2;
}

drawTheme();
open(talk);
loadAdapters();
