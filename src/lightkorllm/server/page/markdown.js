// Markdown → DOM nodes, while it is being written. Text becomes text nodes only, never HTML.
//
// A line is read once, when it is complete; only the last, open line is drawn again with each
// piece, and of a long one only its end. A table's first row is a head once the next line says so. So a long answer costs what it is long.

const SAFE_LINK = /^(https?:|mailto:)/i;
const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|\[([^\][]{1,400})\]\(([^()\s]+)\)/g;
const ROW = /^\s*\|.*\S/;
const LONG = 240; // characters of an open line after which its beginning is settled

export class Markdown {
  drawn = 0; // characters drawn so far, drawn again ones included: what the work is

  constructor(root, doc = document) {
    this.root = root;
    this.doc = doc;
    this.block = null; // the list, paragraph, quote, table or code that lines are added to
    this.target = null; // the node that the rest of a settled line goes into
    this.kind = "";
    this.open = ""; // the line that is not complete yet
    this.provisional = []; // nodes that show it
    this.settled = false; // whether the open line's beginning stands already
  }

  write(text) {
    this.#undo();
    const lines = (this.open + text).split("\n");
    this.open = lines.pop();
    for (const line of lines) this.#line(line.replace(/\r$/, ""), false);
    if (this.open.length > LONG) this.#settle();
    if (this.open !== "") this.#draft();
  }

  end() {
    this.#undo();
    if (this.open !== "" || this.settled) this.#line(this.open, false);
    this.open = "";
  }

  #undo() {
    for (const node of this.provisional) node.remove();
    this.provisional = [];
  }

  // Draws the open line so that it can be taken back.
  #draft() {
    const { block, kind, target, settled } = this;
    this.recording = true;
    this.#line(this.open, true);
    this.recording = false;
    Object.assign(this, { block, kind, target, settled });
  }

  // Keeps the beginning of a long line, up to a blank where no mark is open; one that goes on
  // and on is kept as it is.
  #settle() {
    const start = this.open.slice(0, this.#settledLength()).replace(/\r$/, "");
    if (start.trim() === "" || (this.kind !== "code" && ROW.test(start))) return;
    if (this.kind === "code") this.#text(this.block, start);
    else if (this.settled) this.#inline(this.target, start);
    else this.#line(start, false);
    this.settled = true;
    this.open = this.open.slice(start.length);
  }

  #settledLength() {
    const { length } = this.open;
    if (this.kind === "code") return length;
    const blank = this.open.lastIndexOf(" ") + 1;
    const end = length > 2 * LONG && blank < LONG ? length : blank;
    const unmarked = this.open.slice(0, end).replace(/^\s*[*] /, "").replace(INLINE, "");
    if (!/[`*[]/.test(unmarked)) return end;
    return length > 8 * LONG ? end : 0;
  }

  #line(line, draft) {
    if (this.kind === "code") return this.#code(line, draft);
    if (this.settled) {
      this.settled = false;
      return this.#inline(this.target, line);
    }
    const fence = line.match(/^\s*(`{3,}|~{3,})\s*([\w+#.-]*)\s*$/);
    if (fence) return draft ? this.#text(this.root, line) : this.#fence(fence[2]);
    if (line.trim() === "") return this.#close();
    const heading = line.match(/^(#{1,6})\s+(.*)$/);
    if (heading) return this.#heading(heading);
    const item = line.match(/^(\s*)(?:([-*+])|(\d+)[.)])\s+(.*)$/);
    if (item) return this.#item(item[3] === undefined ? "ul" : "ol", item[3], item[4]);
    if (ROW.test(line)) return this.#row(line, draft);
    const quote = line.match(/^>\s?(.*)$/);
    if (quote) return this.#flow("blockquote", quote[1]);
    return this.#flow("p", line);
  }

  #close() {
    this.block = null;
    this.kind = "";
  }

  #fence() {
    const holder = this.doc.createElement("div");
    holder.className = "code";
    const pre = this.doc.createElement("pre");
    pre.tabIndex = 0;
    const code = this.doc.createElement("code");
    const copy = this.doc.createElement("button");
    copy.type = "button";
    copy.className = "copy";
    copy.append("복사");
    pre.append(code);
    holder.append(pre, copy);
    this.root.append(holder);
    this.block = code;
    this.kind = "code";
  }

  #code(line, draft) {
    if (!draft && !this.settled && /^\s*(`{3,}|~{3,})\s*$/.test(line)) return this.#close();
    this.settled = false;
    return this.#text(this.block, draft ? line : `${line}\n`);
  }

  #heading([, marks, text]) {
    this.#close();
    const node = this.doc.createElement(`h${Math.min(4, marks.length + 1)}`);
    this.#add(this.root, node);
    this.#inline(node, text);
  }

  #item(kind, number, text) {
    if (this.kind !== kind) {
      this.block = this.doc.createElement(kind);
      if (number && number !== "1") this.block.start = Number(number);
      this.kind = kind;
      this.#add(this.root, this.block);
    }
    const node = this.doc.createElement("li");
    this.#add(this.block, node);
    this.#inline(node, text);
  }

  #flow(kind, text) {
    if (this.kind === kind) this.#add(this.block, this.doc.createElement("br"));
    else this.#paragraph(kind);
    this.#inline(this.block, text);
  }

  #paragraph(kind = "p") {
    if (this.kind === kind) return this.#add(this.block, this.doc.createElement("br"));
    this.block = this.doc.createElement(kind);
    this.kind = kind;
    return this.#add(this.root, this.block);
  }

  #row(line, draft) {
    const cells = line.trim().replace(/^\||\|$/g, "").split("|");
    const rows = this.kind === "table" ? this.block.childNodes.length : 0;
    if (rows === 1 && cells.every((cell) => /^\s*:?-+:?\s*$/.test(cell))) return draft || this.#head();
    if (rows === 0) this.#table();
    const row = this.doc.createElement("tr");
    this.#add(this.block, row);
    for (const cell of cells) this.#cell(row, { name: "td", text: cell.trim() });
  }

  #table() {
    const holder = this.doc.createElement("div");
    holder.className = "table";
    holder.tabIndex = 0;
    const table = this.doc.createElement("table");
    this.block = this.doc.createElement("tbody");
    this.kind = "table";
    table.append(this.block);
    holder.append(table);
    this.#add(this.root, holder);
  }

  #cell(row, { name, text }) {
    const cell = this.doc.createElement(name);
    row.append(cell);
    this.#inline(cell, text);
  }

  #head() {
    const row = this.block.childNodes[0];
    for (const cell of [...row.childNodes]) {
      const head = this.doc.createElement("th");
      head.append(...cell.childNodes);
      row.append(head);
      cell.remove();
    }
  }

  #inline(node, text) {
    this.target = node;
    let at = 0;
    for (const match of text.matchAll(INLINE)) {
      this.#text(node, text.slice(at, match.index));
      this.#add(node, this.#mark(match));
      at = match.index + match[0].length;
    }
    this.#text(node, text.slice(at));
  }

  #mark([whole, code, bold, italic, label, target]) {
    if (label !== undefined && !SAFE_LINK.test(target)) return this.#node("span", whole);
    if (label !== undefined) {
      const link = this.#node("a", label);
      link.href = target;
      link.rel = "noopener noreferrer nofollow";
      link.target = "_blank";
      return link;
    }
    if (code !== undefined) return this.#node("code", code);
    return bold !== undefined ? this.#node("strong", bold) : this.#node("em", italic);
  }

  #node(name, text) {
    const node = this.doc.createElement(name);
    node.append(text);
    this.drawn += text.length;
    return node;
  }

  #text(node, text) {
    if (text === "") return;
    this.drawn += text.length;
    this.#add(node, this.doc.createTextNode(text));
  }

  #add(parent, node) {
    parent.append(node);
    if (this.recording) this.provisional.push(node);
  }
}
