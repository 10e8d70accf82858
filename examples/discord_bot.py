"""디스코드 봇: 부르면(@봇) 답하고, 채널마다 대화를 이어 갑니다. pip install discord.py

DISCORD_TOKEN에 봇의 토큰을 넣고, 개발자 포털에서 Message Content Intent를 켜세요.
"""

import asyncio
import json
import os
import re
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SERVER = os.environ.get("LIGHTKOR_URL", "http://127.0.0.1:5989")
KEY = os.environ.get("LIGHTKOR_KEY", "")
LONGEST = 2000  # 디스코드 메시지 하나의 글자 수

histories = {}  # 채널 → 대화 기록. 봇을 다시 켜면 잊습니다


def ask(question, history):
    character = {"command": "너는 동아리 채팅방의 친절한 도우미야. 짧게 답해."}
    body = {"instruction": character, "input": question, "history": history}
    request = Request(f"{SERVER}/chatweb", json.dumps(body).encode())
    if KEY:
        request.add_header("Authorization", f"Bearer {KEY}")
    with urlopen(request, timeout=120) as answer:
        return json.load(answer)


async def reply_to(message, me):
    """부른 말에만 답합니다. `me`는 봇 자신의 사용자입니다."""
    if message.author.bot or me not in message.mentions:
        return
    question = re.sub(r"<@!?\d+>", "", message.content).strip()
    channel = message.channel.id
    async with message.channel.typing():
        try:
            answer = await asyncio.to_thread(ask, question, histories.get(channel))
        except HTTPError as error:
            text = json.load(error)["error"]["message"]
        except OSError:
            text = "모델 서버에 연결할 수 없어요."
        else:
            text = answer["result"] or "…"
            histories[channel] = {"history": answer["history"]["history"][-20:]}
    await message.reply(text[:LONGEST])


if __name__ == "__main__":
    import discord

    intents = discord.Intents.default()
    intents.message_content = True
    client = discord.Client(intents=intents)

    @client.event
    async def on_message(message):
        await reply_to(message, client.user)

    client.run(os.environ["DISCORD_TOKEN"])
