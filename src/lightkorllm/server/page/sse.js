// Bytes of a server-sent event stream → the data of each event, however the bytes are cut up.

export class EventReader {
  #decoder = new TextDecoder("utf-8");
  #pending = "";
  #data = [];

  // The data of the events that these bytes complete, as strings.
  feed(bytes) {
    const lines = (this.#pending + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#pending = lines.pop();
    return lines.map((line) => this.#line(line.replace(/\r$/, ""))).filter((data) => data !== null);
  }

  #line(line) {
    if (line.startsWith("data:")) this.#data.push(line.slice(5).replace(/^ /, ""));
    if (line !== "" || this.#data.length === 0) return null;
    const data = this.#data.join("\n");
    this.#data = [];
    return data;
  }
}
