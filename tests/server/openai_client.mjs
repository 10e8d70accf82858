// The official npm client against our server: prints what it got, as one line of JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "없는 키".length.toString(), maxRetries: 0 });
const messages = [{ role: "user", content: "안녕?" }];
const whole = await client.chat.completions.create({ model: "echo", messages });
const stream = await client.chat.completions.create({ model: "echo", messages, stream: true });
const pieces = [];
for await (const chunk of stream) pieces.push(chunk.choices[0]?.delta?.content ?? "");
let refused = null;
try {
  await client.chat.completions.create({ model: "echo", messages, temperature: 9 });
} catch (error) {
  refused = { status: error.status, param: error.param, code: error.code };
}
const models = (await client.models.list()).data.map((model) => model.id);
const text = whole.choices[0].message.content;
console.log(JSON.stringify({ text, streamed: pieces.join(""), refused, models }));
