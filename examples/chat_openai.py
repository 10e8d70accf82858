"""OpenAI의 파이썬 패키지로 묻기: 주소만 바꾸면 됩니다. pip install openai"""

import os
import sys

from openai import OpenAI

SERVER = os.environ.get("LIGHTKOR_URL", "http://127.0.0.1:5989")
KEY = os.environ.get("LIGHTKOR_KEY", "")


def main(question):
    client = OpenAI(base_url=f"{SERVER}/v1", api_key=KEY or "anything")
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model,
        messages=[
            {"role": "system", "content": "친절하게 답하세요."},
            {"role": "user", "content": question},
        ],
        stream=True,
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "한국의 수도는 어디인가요?")
