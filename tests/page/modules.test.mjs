// The page's pure modules, in Node: bytes cut anywhere, and Markdown's work.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Markdown } from "../../src/lightkorllm/server/page/markdown.js";
import { EventReader } from "../../src/lightkorllm/server/page/sse.js";

const bytes = new TextEncoder().encode(
  ': 주석\n\ndata: {"delta": "안녕하세요 👨‍👩‍👧"}\r\n\r\nevent: x\ndata: 첫 줄\ndata: 둘째 줄\n\ndata:빈칸 없이\n\n',
);
const expected = ['{"delta": "안녕하세요 👨‍👩‍👧"}', "첫 줄\n둘째 줄", "빈칸 없이"];

for (const size of [1, 2, 3, 5, 1000]) {
  test(`events are whole when ${size} bytes come at a time`, () => {
    const reader = new EventReader();
    const seen = [];
    for (let at = 0; at < bytes.length; at += size) seen.push(...reader.feed(bytes.slice(at, at + size)));
    assert.deepEqual(seen, expected);
  });
}

class Node {
  constructor(name, text = "") { this.name = name; this.text = text; this.childNodes = []; }
  append(...nodes) {
    for (const node of nodes) {
      const child = typeof node === "string" ? new Node("#text", node) : node;
      if (child.parent) child.remove();
      child.parent = this;
      this.childNodes.push(child);
    }
  }
  remove() { this.parent.childNodes.splice(this.parent.childNodes.lastIndexOf(this), 1); this.parent = null; }
  toString() {
    const inner = this.text + this.childNodes.join("");
    return this.name === "#text" ? inner : `<${this.name}>${inner}</${this.name}>`;
  }
}
const doc = { createElement: (name) => new Node(name), createTextNode: (text) => new Node("#text", text) };

function draw(text, size) {
  const root = new Node("root");
  const markdown = new Markdown(root, doc);
  for (let at = 0; at < text.length; at += size) markdown.write(text.slice(at, at + size));
  markdown.end();
  return { html: root.toString(), drawn: markdown.drawn };
}

const samples = [
  "그냥 글", "한 줄\n두 줄\n\n다음 문단", "# 제목\n글", "- 하나\n- 둘\n\n1. 첫째", "```js\nlet a = 1;\n```\n끝",
  "**굵게** *기울게* `코드` [링크](https://a.b)", "닫히지 않은 **굵게", "```\n닫히지 않은 코드", "> 인용\n> 둘", "",
  "| 가 | 나 |\n|---|---|\n| 1 | **2** |\n\n끝", "| 표가 아닌 줄 |\n글", "앞\n| 가 |\n| :-: |\n| 나 |", "|---|\n글",
  `${"긴 글 ".repeat(90)}**굵게** 끝`, `- ${"긴 항목 ".repeat(80)}끝\n- 둘째`, "**굵은 글** 그리고 *기운 글* ".repeat(30) + "**긴 굵은 글**", "가".repeat(600) + "**굵게** 끝",
  "```\n" + "x".repeat(900) + "\n```\n끝",
  "한 줄\r\n두 줄\r\n\r\n```\r\n코드\r\n```\r\n끝",
];
for (const text of samples) {
  test(`drawn the same however it is cut: ${JSON.stringify(text.slice(0, 40))}`, () => {
    const whole = draw(text, 10_000).html;
    for (const size of [1, 2, 3, 7]) assert.equal(draw(text, size).html, whole);
  });
}

for (const [name, text, limit] of [
  ["one long line", "가나다라 마바사 ".repeat(2500)],
  ["many lines", "가나다라 마바사 아자차카\n".repeat(1600)],
  ["a long list", "- 항목 하나에 글이 조금\n".repeat(1500)],
  ["long code", "```\n" + "let value = 1;\n".repeat(1500)],
  ["one line of code", "```\n" + "value+=1;".repeat(2500)],
  ["one list item", "- " + "가나다라 마바사 ".repeat(2500)],
  ["one word", "가".repeat(20000)],
  ["marks that never close", "[*`".repeat(6000), 250],
  ["a long table", "| 가 | 나 |\n|---|---|\n" + "| 하나 | 둘 |\n".repeat(1500)],
]) {
  test(`a 5,000-token answer costs what it is long: ${name}`, () => {
    const { drawn } = draw(text, 5);
    assert.ok(drawn < (limit ?? 60) * text.length, `${drawn} characters drawn for ${text.length}`);
    const twice = draw(text.repeat(2), 5).drawn;
    assert.ok(twice < 2.2 * drawn, `${twice} for twice the text, ${drawn} for once`);
  });
}
