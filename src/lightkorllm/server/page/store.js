// Conversations and settings, kept in this browser; export and import as JSON.

const TALKS = "lightkorllm.talks";
const SETTINGS = "lightkorllm.settings";

export function loadTalks() {
  const talks = storedTalks();
  for (const talk of talks) known.add(talk.id);
  return talks;
}

// What is broken is left out by itself: it must not take the other conversations with it.
function storedTalks() {
  try {
    return JSON.parse(localStorage.getItem(TALKS) ?? "[]").filter(isTalk).flatMap((talk) => checkedTalks([talk]));
  } catch {
    return [];
  }
}

function isTalk(talk) {
  try {
    return checkedTalks([talk]).length === 1;
  } catch {
    return false;
  }
}

const known = new Set(); // ids that this tab has had: what else is stored belongs to another tab

// False where the browser has no room left: the caller says so.
export function saveTalks(talks) {
  for (const talk of talks) known.add(talk.id);
  const others = storedTalks().filter((talk) => !known.has(talk.id));
  try {
    localStorage.setItem(TALKS, JSON.stringify([...talks, ...others]));
    return true;
  } catch {
    return false;
  }
}

export function loadSettings() {
  try {
    const settings = JSON.parse(localStorage.getItem(SETTINGS) ?? "{}");
    return settings && typeof settings === "object" ? settings : {};
  } catch {
    return {};
  }
}

export function saveSettings(settings) {
  try {
    localStorage.setItem(SETTINGS, JSON.stringify(settings));
  } catch {
    // without storage the settings last as long as the page
  }
}

export function newTalk() {
  return { id: crypto.randomUUID?.() ?? String(Math.random()).slice(2), system: "", history: [], notes: {} };
}

export function titleOf(talk) {
  return talk.history[0]?.str.slice(0, 40) || "새 대화";
}

// Talks of an exported file; throws a Korean sentence where it is none.
export function importTalks(text) {
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error("JSON 파일이 아닙니다.");
  }
  return checkedTalks(data?.talks);
}

export function exportTalks(talks) {
  return JSON.stringify({ program: "LightKorLLM", version: 1, talks }, null, 2);
}

function checkedTalks(talks) {
  if (!Array.isArray(talks)) throw new Error("LightKorLLM에서 내보낸 대화 파일이 아닙니다.");
  return talks.map((talk) => {
    const history = talk?.history;
    const entries = Array.isArray(history) && history.every((e) => typeof e?.type === "string" && typeof e?.str === "string");
    if (!entries) throw new Error("대화 기록의 모양이 맞지 않습니다.");
    if (!alternates(history)) throw new Error("대화 기록에는 질문과 답이 번갈아 있어야 합니다.");
    return {
      ...newTalk(),
      id: String(talk.id ?? newTalk().id),
      system: typeof talk.system === "string" ? talk.system : "",
      history: history.map(({ type, str }) => ({ type, str })),
      notes: checkedNotes(talk.notes),
    };
  });
}

function alternates(history) {
  const repeats = history.some((entry, index) => index > 0 && entry.type === history[index - 1].type);
  return history.length % 2 === 0 && !repeats;
}

function checkedNotes(notes) {
  return Object.fromEntries(Object.entries(notes ?? {}).filter(([, note]) => typeof note === "string"));
}
