"""카카오톡 채널의 챗봇(카카오 i 오픈빌더)이 부르는 스킬 서버. pip install flask

스킬은 5초 안에 답해야 합니다. 블록에 콜백을 켜 두면(AI 챗봇 신청) 1분까지 기다려 줍니다.
"""

import json
import os
import threading
from urllib.request import Request, urlopen

from flask import Flask, request

SERVER = os.environ.get("LIGHTKOR_URL", "http://127.0.0.1:5989")
KEY = os.environ.get("LIGHTKOR_KEY", "")
LONGEST = 1000  # simpleText 하나의 글자 수

app = Flask(__name__)
app.json.ensure_ascii = False
histories = {}  # 사용자 → 대화 기록. 서버를 다시 켜면 잊습니다


def post(url, body, timeout, key=""):
    call = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    if key:
        call.add_header("Authorization", f"Bearer {key}")
    with urlopen(call, timeout=timeout) as answer:
        return json.load(answer)


def bubble(user, question, timeout):
    """모델의 답을 담은 말풍선. 안 되면 사과하는 말풍선입니다."""
    body = {"input": question, "history": histories.get(user), "max_new_token": 200}
    try:
        answer = post(f"{SERVER}/chatweb", body, timeout, KEY)
    except OSError:  # 연결 실패, 오류 상태, 시간 초과
        text = "지금은 답할 수 없어요. 잠시 뒤에 다시 물어봐 주세요."
    else:
        histories[user] = {"history": answer["history"]["history"][-20:]}
        text = answer["result"][:LONGEST] or "…"
    return {"version": "2.0", "template": {"outputs": [{"simpleText": {"text": text}}]}}


@app.post("/skill")
def skill():
    asked = request.get_json()["userRequest"]
    user, question, callback = asked["user"]["id"], asked["utterance"], asked.get("callbackUrl")
    if not callback:
        return bubble(user, question, timeout=4.5)

    work = threading.Thread(
        target=lambda: post(callback, bubble(user, question, timeout=50), timeout=5)
    )
    work.start()
    return {"version": "2.0", "useCallback": True, "data": {"text": "생각하고 있어요 …"}}


if __name__ == "__main__":
    app.run(port=8000)  # 여럿이 쓸 때는 waitress 같은 서버로 돌리세요
