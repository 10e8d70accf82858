"""터미널 대화: 답이 만들어지는 대로 보여 주고, 대화 기록을 들고 다닙니다. pip install requests"""

import json
import os

import requests

SERVER = os.environ.get("LIGHTKOR_URL", "http://127.0.0.1:5989")
KEY = os.environ.get("LIGHTKOR_KEY", "")


def ask(question, history=None):
    """답을 만들어지는 대로 찍고, 다음 질문에 넣어 보낼 대화 기록을 돌려줍니다."""
    body = {
        "instruction": {"command": "친절하게 답하세요."},
        "input": question,
        "history": history,
        "stream": True,
    }
    headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
    with requests.post(
        f"{SERVER}/chatweb", json=body, headers=headers, stream=True, timeout=120
    ) as answer:
        if not answer.ok:
            raise SystemExit(answer.json()["error"]["message"])
        for line in answer.iter_lines():
            if not line.startswith(b"data: "):
                continue  # 빈 줄과 주석(`: ...`)
            event = json.loads(line[6:])
            if "error" in event:
                raise SystemExit(event["error"]["message"])
            if "delta" in event:
                print(event["delta"], end="", flush=True)
            else:  # 마지막 사건에는 답 전체가 들어 있습니다
                print()
                return event["history"]
    raise SystemExit("답이 끝나기 전에 연결이 끊겼습니다.")


if __name__ == "__main__":
    history = None
    while question := input("나: ").strip():  # 빈 줄이면 끝냅니다
        print("AI: ", end="")
        history = ask(question, history)
