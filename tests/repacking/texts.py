"""Lines that tokenizers trip over, and a thousand Korean ones."""

from __future__ import annotations

from lightkorllm.data import corpus

HARD = [
    "안녕하세요", "  앞 두 칸", "뒤 두 칸  ", "가운데   세 칸", "줄\n바꿈\n\n\n둘", "탭\t탭\t\t끝",
    "뷁쀍 쫣 힣", "😀👨‍👩‍👧‍👦🇰🇷 이모지", "def f(x):\n    return x**2  # 제곱\n",
    "I'm he'll we'VE DON'T they'd", "1234567 12,345.67 ３４５ ½ ²", "漢字와 한글 mixed テスト",
    "ㅋㅋㅋㅎㅎ ㅠㅠ", "Ünïcödé naïve café", "\r\n윈도우\r\n", " ", "\n", "a", "…·—“따옴표”‘’",
    "\u200b제로폭\ufeff", "مرحبا שלום", "x" * 300, "<b>태그</b>  <table><tr>", "가" * 200,
    " \n \n", "\u3000전각 공백", "e\u0301 나랏말싸미 듕귁에 달아", "ᄒᆞᆫ글",
    "/* C */ int main(){return 0;}", "50%! @#$^&*()_+-=[]{}|;':\",./<>?",
    "<표>와 <|user|>\n질문</s>",
    "<unk> <s>", "camelCaseHTTPServer\t\tUPPER lower", "3.14159 0x1F 1e-5 100000",
]  # fmt: skip


def korean(count: int) -> list[str]:
    """So many lines of Korean, from all registers."""
    lines = corpus.text("calibration", language="ko").splitlines()
    filled = [line for line in lines if line.strip()]
    step = max(1, len(filled) // count)
    chosen = filled[::step][:count]
    assert len(chosen) == count
    return chosen
