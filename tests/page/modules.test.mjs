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
  constructor(name, text = "") { this.name = name; this.text = text; this.children = []; }
  append(...nodes) {
    for (const node of nodes) {
      const child = typeof node === "string" ? new Node("#text", node) : node;
      child.parent = this;
      this.children.push(child);
    }
  }
  remove() { this.parent.children.splice(this.parent.children.indexOf(this), 1); }
  toString() {
    const inner = this.text + this.children.join("");
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
];
for (const text of samples) {
  test(`drawn the same however it is cut: ${JSON.stringify(text)}`, () => {
    const whole = draw(text, 10_000).html;
    for (const size of [1, 2, 3, 7]) assert.equal(draw(text, size).html, whole);
  });
}

for (const [name, text] of [
  ["one long line", "가나다라 마바사 ".repeat(2500)],
  ["many lines", "가나다라 마바사 아자차카\n".repeat(1600)],
  ["a long list", "- 항목 하나에 글이 조금\n".repeat(1500)],
  ["long code", "```\n" + "let value = 1;\n".repeat(1500)],
]) {
  test(`a 5,000-token answer costs what it is long: ${name}`, () => {
    const { drawn } = draw(text, 5);
    assert.ok(drawn < 60 * text.length, `${drawn} characters drawn for ${text.length}`);
    const twice = draw(text.repeat(2), 5).drawn;
    assert.ok(twice < 2.2 * drawn, `${twice} for twice the text, ${drawn} for once`);
  });
}
