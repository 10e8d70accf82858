// fetch로 스트리밍 받기. Node 18 이상과 브라우저에서 같은 함수를 씁니다.
// 브라우저라면 서버를 `--cors_origins 페이지의_주소`로 켜 주세요.

// 답의 조각마다 onText를 부르고, 다음 질문에 넣어 보낼 대화 기록을 돌려줍니다.
export async function ask(server, question, { onText, history = null, key = "" }) {
  const answer = await fetch(`${server}/chatweb`, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      ...(key && { Authorization: `Bearer ${key}` }),
    },
    body: JSON.stringify({ input: question, history, stream: true }),
  });
  if (!answer.ok) throw new Error((await answer.json()).error.message);

  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let pending = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) throw new Error("답이 끝나기 전에 연결이 끊겼습니다.");
    const lines = (pending + decoder.decode(value, { stream: true })).split("\n");
    pending = lines.pop(); // 아직 다 오지 않은 줄
    for (const line of lines.filter((line) => line.startsWith("data: "))) {
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      if ("delta" in event) onText(event.delta);
      else return event.history;
    }
  }
}

// node chat_fetch.mjs "안녕?" "내 이름이 뭐라고 했지?"
if (typeof process !== "undefined" && process.argv[1]?.endsWith("chat_fetch.mjs")) {
  const { LIGHTKOR_URL: server = "http://127.0.0.1:5989", LIGHTKOR_KEY: key = "" } = process.env;
  const onText = (text) => process.stdout.write(text);
  let history = null;
  for (const question of process.argv.slice(2)) {
    history = await ask(server, question, { onText, history, key });
    onText("\n");
  }
}
