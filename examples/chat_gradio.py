"""Gradio 대화 화면: 몇 줄로 만드는 시연. pip install "gradio>=6" openai"""

import os

from openai import OpenAI

SERVER = os.environ.get("LIGHTKOR_URL", "http://127.0.0.1:5989")
KEY = os.environ.get("LIGHTKOR_KEY", "")


def answer(question, history):
    """지금까지 만든 답을 조금씩 길게 냅니다. `history`는 Gradio가 들고 있는 앞선 말들입니다."""
    client = OpenAI(base_url=f"{SERVER}/v1", api_key=KEY or "anything")
    messages = [{"role": "system", "content": "친절하게 답하세요."}]
    messages += [{"role": turn["role"], "content": turn["content"]} for turn in history]
    messages.append({"role": "user", "content": question})
    model = client.models.list().data[0].id
    text = ""
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
        text += chunk.choices[0].delta.content or ""
        yield text


if __name__ == "__main__":
    import gradio

    gradio.ChatInterface(answer, title="LightKorLLM").launch()
