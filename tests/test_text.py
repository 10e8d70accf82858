"""Text that is safe to show: whole characters, no stop string, no label, however it is cut."""

from __future__ import annotations

import random
import sys
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import FrameType
from typing import Any, AnyStr

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightkorllm import text as text_module
from lightkorllm.text import IdText, ReplyText, StopScanner, Utf8Text, polish

BROKEN = "\ufffd"
JOINER = "\u200d"
FAMILY = "👨‍👩‍👧‍👦"
SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]
EMOJI = ["👍🏻", FAMILY, "🎉", "🇰🇷", "❤️‍🔥", "👩🏽‍💻", "😀", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
RARE = "가냘프다 뷁 똠 펲 챦"

property_test = settings(max_examples=200, deadline=None)
places = st.lists(st.integers(0, 400), max_size=12)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def cut(whole: AnyStr, at: Sequence[int]) -> list[AnyStr]:
    edges = [0, *sorted(place % (len(whole) + 1) for place in at), len(whole)]
    return [whole[start:end] for start, end in pairwise(edges)]


def korean_text(*, max_size: int = 30) -> st.SearchStrategy[str]:
    letters = st.one_of(
        st.sampled_from("가냘프다 뷁똠펲챦습니다.\n#：:ㄱ"),
        st.sampled_from(SYLLABLES),
        st.sampled_from([nfd("각"), *EMOJI]),
        st.characters(max_codepoint=127),
        st.characters(exclude_categories=["Cs"]),
    )
    return st.lists(letters, max_size=max_size).map("".join)


def emoji_runs() -> st.SearchStrategy[str]:
    parts = ["👨", "👩", "👧", JOINER, "🏻", "🏿", "\ufe0f", "🇰", "🇷", *EMOJI]
    return st.lists(st.sampled_from(parts), max_size=30).map("".join)


# --- bytes ---------------------------------------------------------------------------------------


def bytes_to_chunks(pieces: Sequence[bytes]) -> list[str]:
    reader = Utf8Text()
    return [*(reader.feed(piece) for piece in pieces), reader.flush()]


@pytest.mark.case("K01", "K04")
def test_every_syllable_survives_a_cut_at_every_byte() -> None:
    for syllable in SYLLABLES:
        data = syllable.encode()
        for place in range(len(data) + 1):
            assert bytes_to_chunks([data[:place], data[place:]]).count(syllable) == 1


@pytest.mark.case("K04")
def test_rare_syllables_survive_byte_by_byte() -> None:
    chunks = bytes_to_chunks([bytes([byte]) for byte in RARE.encode()])
    assert "".join(chunks) == RARE
    assert BROKEN not in "".join(chunks)


@pytest.mark.case("K01", "K03")
@property_test
@given(korean_text() | emoji_runs(), places)
def test_any_text_survives_any_cut_in_its_bytes(text: str, at: list[int]) -> None:
    assert "".join(bytes_to_chunks(cut(text.encode(), at))) == text


@property_test
@given(
    st.binary(max_size=40)
    | st.lists(
        st.sampled_from(
            [b"\xec\x8a\xb5", b"\xec\x8a", b"\xf0\x9f", b"\xed\xa0\x80", b"\xff", b"\x80", b"a"]
        )
    ).map(b"".join),
    places,
)
def test_broken_bytes_are_replaced_as_python_does_and_lose_nothing_after_them(
    data: bytes, at: list[int]
) -> None:
    reader = Utf8Text()
    text = "".join(map(reader.feed, cut(data, at))) + reader.flush()
    whole = data[: len(data) - len(reader.pending)]
    assert text == whole.decode("utf-8", "replace")
    assert reader.pending == b"" or data.decode("utf-8", "replace") == text + BROKEN
    assert (text + reader.feed("다".encode())).endswith("다")


def test_half_a_syllable_is_not_shown_but_can_be_seen() -> None:
    reader = Utf8Text()
    assert reader.feed("안녕하세".encode() + "요".encode()[:2]) == "안녕하세"
    assert reader.flush() == ""
    assert reader.pending == "요".encode()[:2]


# --- emoji ---------------------------------------------------------------------------------------


@pytest.mark.case("K26")
@property_test
@given(emoji_runs(), places)
def test_no_chunk_ends_inside_a_join(text: str, at: list[int]) -> None:
    *chunks, rest = bytes_to_chunks(cut(text.encode(), at))
    assert not any(chunk.endswith(JOINER) for chunk in chunks)
    assert "".join([*chunks, rest]) == text
    assert rest.strip(JOINER) == ""


@pytest.mark.case("K26")
@pytest.mark.parametrize("emoji", [FAMILY, "👍🏻", "🇰🇷", "🎉", "❤️‍🔥"])
def test_twenty_emoji_are_delivered_while_they_come(emoji: str) -> None:
    data = (emoji * 20).encode()
    chunks = bytes_to_chunks([bytes([byte]) for byte in data])
    assert "".join(chunks) == emoji * 20
    assert sum(chunk != "" for chunk in chunks) >= 20


def test_a_joiner_at_the_end_is_shown_at_the_end() -> None:
    assert bytes_to_chunks([f"👨{JOINER}".encode()]) == ["👨", JOINER]
    ids = list(f"👨{JOINER}".encode())
    assert ids_to_chunks(ByteLevel.single_bytes().decode, ids)[-1] == JOINER


# --- token ids -----------------------------------------------------------------------------------


class ByteFallback:
    """Llama 2: ids below 256 are bytes, and a run of them is read as a whole or not at all.

    The other ids are pieces, with `▁` for a space; the first space of what is decoded is
    stripped; the empty piece stands for a special token.
    """

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.decoded = 0

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for char in text.replace(" ", "▁"):
            known = char in self.pieces
            ids += [256 + self.pieces.index(char)] if known else char.encode()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        self.decoded += len(ids)
        parts: list[str] = []
        run = b""
        for token_id in [*ids, None]:
            if token_id is not None and token_id < 256:
                run += bytes([token_id])
            elif token_id is None or self.pieces[token_id - 256]:
                parts.append(self._read(run))
                run = b""
                parts.append("" if token_id is None else self.pieces[token_id - 256])
        return "".join(parts).replace("▁", " ").removeprefix(" ")

    @staticmethod
    def _read(run: bytes) -> str:
        try:
            return run.decode()
        except UnicodeDecodeError:
            return BROKEN * len(run)


class ByteLevel:
    """GPT-2 and Qwen: each id is some bytes, cut anywhere."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self.tokens = tokens

    @classmethod
    def single_bytes(cls) -> ByteLevel:
        return cls([bytes([byte]) for byte in range(256)])

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.tokens[token_id] for token_id in ids).decode("utf-8", "replace")


def ids_to_chunks(decode: Callable[[Sequence[int]], str], ids: Sequence[int]) -> list[str]:
    reader = IdText(decode)
    return [*(reader.feed(token_id) for token_id in ids), reader.flush()]


@pytest.mark.case("K03")
def test_two_hundred_syllables_spelled_in_byte_tokens_come_whole() -> None:
    tokenizer = ByteFallback("▁")
    text = "".join(random.Random(3).choices(SYLLABLES, k=200))
    chunks = ids_to_chunks(tokenizer.decode, tokenizer.encode(text))
    assert "".join(chunks) == text
    assert [chunk for chunk in chunks if chunk] == list(text)


@pytest.mark.case("K01", "K03", "K04", "K26")
@property_test
@given(korean_text().map(lambda text: text.replace("▁", "")))
@example(RARE)
@example("  가  나")
def test_byte_fallback_gives_what_decoding_at_once_gives(text: str) -> None:
    tokenizer = ByteFallback("▁", "다", "a", "", ".", "습")
    ids = tokenizer.encode(text)
    chunks = ids_to_chunks(tokenizer.decode, ids)
    assert "".join(chunks).rstrip(BROKEN) == tokenizer.decode(ids).rstrip(BROKEN)
    assert BROKEN in text or BROKEN not in "".join(chunks)


@pytest.mark.case("K01", "K04", "K26")
@property_test
@given(korean_text(), places)
def test_byte_level_tokens_cut_anywhere_give_whole_characters(text: str, at: list[int]) -> None:
    tokenizer = ByteLevel(cut(text.encode(), at))
    chunks = ids_to_chunks(tokenizer.decode, range(len(tokenizer.tokens)))
    assert "".join(chunks).rstrip(BROKEN) == text.rstrip(BROKEN)
    assert BROKEN in text or BROKEN not in "".join(chunks)


@pytest.mark.parametrize("shift", [1, 2])
def test_tokens_that_all_end_inside_a_syllable_do_not_hold_for_ever(shift: int) -> None:
    data = "".join(SYLLABLES[:200]).encode()
    tokenizer = ByteLevel([data[:shift], *(data[i : i + 3] for i in range(shift, len(data), 3))])
    chunks = ids_to_chunks(tokenizer.decode, range(len(tokenizer.tokens)))
    assert "".join(chunks) == data.decode()
    assert max(len(chunk) for chunk in chunks) < 12


def test_the_first_space_of_each_word_is_kept() -> None:
    tokenizer = ByteFallback("▁안녕", "▁", "하세요", "", "▁▁▁▁", "\n", "▁x")
    ids = [256 + piece for piece in [0, 2, 3, 0, 1, 0, 5, 4, 6, 3, 3, 6, 1, 2]]
    chunks = ids_to_chunks(tokenizer.decode, ids)
    assert "".join(chunks) == tokenizer.decode(ids) == "안녕하세요 안녕  안녕\n     x x 하세요"


def test_special_tokens_that_show_nothing_cost_no_space_and_no_memory() -> None:
    tokenizer = ByteFallback("▁안녕", "")
    ids = [256, *[257] * 1000, 256]
    assert "".join(ids_to_chunks(tokenizer.decode, ids)) == "안녕 안녕"
    assert tokenizer.decoded < 30 * len(ids)


def test_special_tokens_inside_a_syllable_do_not_break_it() -> None:
    first, *rest = "가".encode()
    ids = [first, *[256] * 30, *rest]
    assert "".join(ids_to_chunks(ByteFallback("").decode, ids)) == "가"


def test_a_decoder_that_rewrites_what_was_shown_loses_nothing() -> None:
    words = ["네", " ", ".", " 가"]

    def tidy(ids: Sequence[int]) -> str:
        return "".join(words[token_id] for token_id in ids).replace(" .", ".")

    assert "".join(ids_to_chunks(tidy, [0, 1, 2, 3])) == "네 . 가"


@pytest.mark.case("K03")
@property_test
@given(
    st.lists(
        st.binary(max_size=3)
        | st.binary(min_size=9, max_size=12)
        | st.sampled_from([*(text.encode() for text in [*RARE, FAMILY]), b"\xec\x8a", b"\xff"])
    ).map(b"".join)
)
@example(b"\xff" * 30 + "습니다".encode())
@example(b"\xff" + RARE.encode())
@example("습".encode() + b"\xec\x8a" + b"\n" + "다".encode())
def test_broken_byte_tokens_hide_no_other_character(data: bytes) -> None:
    expected = data.decode("utf-8", "replace").replace(BROKEN, "")
    chunks = ids_to_chunks(ByteLevel.single_bytes().decode, data)
    assert "".join(chunks).replace(BROKEN, "") == expected
    fallback = ByteFallback("▁")
    ids = [256 if byte == 0x20 else byte for byte in data]  # a space is always a piece
    chunks = ids_to_chunks(fallback.decode, ids)
    assert "".join(chunks).replace(BROKEN, "") == expected[data.startswith(b" ") :]


def test_words_after_broken_byte_tokens_are_kept_with_their_spaces() -> None:
    tokenizer = ByteFallback("▁네", "다")
    for count in range(1, 30):
        ids = [*[0xFF] * count, *"습".encode(), 256, 257, 256]
        text = "".join(ids_to_chunks(tokenizer.decode, ids))
        assert text == BROKEN * count + "습 네다 네"


def test_broken_byte_tokens_are_not_held_for_ever() -> None:
    chunks = ids_to_chunks(ByteFallback().decode, [0xFF] * 40)
    assert "".join(chunks[:20]).count(BROKEN) >= 10


@pytest.mark.parametrize("size", [1, 2])
def test_an_answer_that_breaks_off_in_a_syllable_ends_before_it(size: int) -> None:
    ids = [*"안녕".encode(), *"요".encode()[:size]]
    for decode in (ByteFallback().decode, ByteLevel.single_bytes().decode):
        assert "".join(ids_to_chunks(decode, ids)) == "안녕"


def test_a_token_costs_the_same_however_long_the_answer_is() -> None:
    tokenizer = ByteFallback("▁", "다", ".")
    reader = IdText(tokenizer.decode)
    costs: list[int] = []
    for token_id in tokenizer.encode("습니다. 뷁" * 500) + [0xFF] * 500:
        before = tokenizer.decoded
        reader.feed(token_id)
        costs.append(tokenizer.decoded - before)
    assert max(costs) < 200
    assert sum(costs[:4000]) < 12 * 4000


# --- stops ---------------------------------------------------------------------------------------


def folded(text: str) -> str:
    return "".join(":" if char == "：" else nfd(char) for char in text)


def conjoining(char: str) -> bool:
    return "\u1100" <= char <= "\u11ff"


def continues(char: str) -> bool:
    return "\u1160" <= char <= "\u11ff" or unicodedata.category(char).startswith("M")


def first_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The promise of StopScanner, said the slow way over the whole text."""
    for end in range(1, len(text) + 1):
        if conjoining(text[end - 1]) and end < len(text) and continues(text[end]):
            continue
        for start in range(end):  # the longest first
            for stop in stops:
                if folded(text[start:end]) == folded(stop):
                    return text[:start], stop
    return text, None


def safe_length(text: str, stops: Sequence[str]) -> int:
    """How much of a text without a stop may be shown while more may come."""
    for start in range(len(text)):
        tail = folded(text[start:])
        awaits = conjoining(text[-1])
        for stop in map(folded, stops):
            if stop.startswith(tail) and (stop != tail or awaits):
                return start
    return len(text)


def scan(pieces: Sequence[str], stops: Sequence[str]) -> tuple[str, str | None]:
    scanner = StopScanner(stops)
    shown = "".join(map(scanner.feed, pieces)) + scanner.flush()
    assert scanner.feed("더") == "" or scanner.found is None
    return shown, scanner.found


def assert_same_stop(found: str | None, expected: str | None) -> None:
    assert (found is None) == (expected is None)
    assert found is None or expected is None or folded(found) == folded(expected)


alphabet = st.sampled_from([*"abab가각나::：#\n", *nfd("각"), "\u11ab", "\u0301", "é"])
small_text = st.lists(alphabet, max_size=16).map("".join)
small_stops = st.lists(st.lists(alphabet, min_size=1, max_size=4).map("".join), max_size=5)


@pytest.mark.case("S01", "K12", "K24")
@settings(max_examples=1500, deadline=None)
@given(small_text, small_stops, places)
def test_the_scanner_agrees_with_the_slow_reading_however_the_text_is_cut(
    text: str, stops: list[str], at: list[int]
) -> None:
    expected_text, expected_stop = first_stop(text, stops)
    for pieces in (cut(text, at), list(text), [text]):
        shown, found = scan(pieces, stops)
        assert shown == expected_text
        assert_same_stop(found, expected_stop)


@pytest.mark.case("S02")
@settings(max_examples=700, deadline=None)
@given(small_text, small_stops)
def test_nothing_is_held_that_cannot_become_a_stop(text: str, stops: list[str]) -> None:
    scanner = StopScanner(stops)
    shown = ""
    for end, char in enumerate(text, start=1):
        shown += scanner.feed(char)
        if scanner.found is not None:
            return
        assert len(shown) == safe_length(text[:end], stops)


@pytest.mark.case("S01")
@pytest.mark.parametrize("place", range(26))
def test_a_stop_split_anywhere_is_still_found(place: int) -> None:
    text = "The quick br" + "own fox" + " jumps"
    assert scan(cut(text, [place]), ["own fox"]) == ("The quick br", "own fox")


@pytest.mark.case("K09", "S02")
def test_a_look_alike_is_released_as_soon_as_it_is_none() -> None:
    scanner = StopScanner(["### 사용자: "])
    assert [scanner.feed(char) for char in "가### 문"] == ["가", "", "", "", "", "### 문"]


@pytest.mark.case("S02")
def test_a_long_stop_holds_back_nothing_from_an_ordinary_answer() -> None:
    scanner = StopScanner(["### 사용자가 다음에 하는 질문:"])
    answer = "안녕하세요. 저는 도우미입니다."
    assert [scanner.feed(char) for char in answer] == list(answer)


@pytest.mark.parametrize(
    ("stops", "shown", "found"),
    [
        (["가나다라", "나다"], "xx가", "나다"),  # ends first, although it begins later
        (["나다", "가나다"], "xx", "가나다"),  # they end together: the longest
        (["가", "가나"], "xx", "가"),  # a stop that begins like another
        (["다라마", "라"], "xx가나다", "라"),
        (["", "라"], "xx가나다", "라"),
        ([""], "xx가나다라", None),
        (["라마"], "xx가나다라", None),
    ],
)
def test_overlapping_stops(stops: list[str], shown: str, found: str | None) -> None:
    text = "xx가나다라"
    for pieces in ([text], list(text)):
        assert scan(pieces, stops) == (shown, found)


@pytest.mark.case("S49")
@pytest.mark.parametrize("stop", ["a", ".", "#", "다"])
def test_a_stop_of_one_letter_works(stop: str) -> None:
    assert scan(list(f"가나{stop}라{stop}"), [stop]) == ("가나", stop)


@pytest.mark.case("K12")
@property_test
@given(
    st.lists(st.tuples(st.sampled_from("한국어테스트 #:가각"), st.booleans()), max_size=20),
    st.lists(st.tuples(st.sampled_from("한국어가각"), st.booleans()), min_size=1, max_size=3),
    places,
)
def test_composed_and_decomposed_twins_stop_alike(
    letters: list[tuple[str, bool]], stop_letters: list[tuple[str, bool]], at: list[int]
) -> None:
    plain = "".join(letter for letter, _ in letters)
    plain_stop = "".join(letter for letter, _ in stop_letters)
    mixed = "".join(nfd(letter) if apart else letter for letter, apart in letters)
    mixed_stop = "".join(nfd(letter) if apart else letter for letter, apart in stop_letters)
    shown, found = scan(cut(mixed, at), [mixed_stop])
    place = plain.find(plain_stop)
    assert unicodedata.normalize("NFC", shown) == (plain if place < 0 else plain[:place])
    assert found == (None if place < 0 else mixed_stop)


@pytest.mark.case("K12")
@pytest.mark.parametrize("spell", [str, nfd])
@pytest.mark.parametrize("spell_stop", [str, nfd])
def test_a_stop_does_not_fire_inside_a_syllable(
    spell: Callable[[str], str], spell_stop: Callable[[str], str]
) -> None:
    stop = spell_stop("가")
    text = spell("각감가다")
    for pieces in ([text], list(text)):
        assert scan(pieces, [stop]) == (spell("각감"), stop)
    assert scan([spell("나가")], [stop]) == (spell("나"), stop)  # the text ends: nothing follows


def test_only_a_stop_in_jamo_waits_for_the_next_letter() -> None:
    scanner = StopScanner(["끝"])
    assert (scanner.feed("이제 끝"), scanner.found) == ("이제 ", "끝")
    scanner = StopScanner(["끝"])
    assert (scanner.feed(nfd("끝")), scanner.found) == ("", None)
    assert (scanner.feed("."), scanner.found) == ("", "끝")


@pytest.mark.case("K24")
@pytest.mark.parametrize("colon", [":", "："])
@pytest.mark.parametrize("stop", ["### 사용자:", "### 사용자："])
def test_a_full_width_colon_is_a_colon(colon: str, stop: str) -> None:
    text = f"네.\n### 사용자{colon} 다음 질문"
    assert scan(list(text), [stop]) == ("네.\n", stop)


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("a" * 6000, ["a" * 400 + "b", "a" * 399 + "c"]),
        (nfd("가") * 3000, [nfd("가" * 300) + "나", "\u1161" + "가" * 300 + "x"]),
        ("가" * 6000, ["\u1161" + "가" * 300]),
        ("ab" * 3000, ["ab" * 200 + "c", "ba" * 200 + "c", "b" + "ab" * 200 + "x"]),
    ],
)
def test_a_chunk_costs_the_same_however_long_the_answer_is(text: str, stops: list[str]) -> None:
    scanner = StopScanner(stops)
    early = lines_run(lambda: [scanner.feed(char) for char in text[:2000]])
    lines_run(lambda: scanner.feed(text[2000:4000]))
    late = lines_run(lambda: [scanner.feed(char) for char in text[4000:]])
    assert scanner.found is None
    assert late < 1.3 * early + 2000
    assert early < 2000 * 120


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of text.py the work runs: a clock that is the same on every machine."""
    count = 0
    previous = sys.gettrace()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace if frame.f_code.co_filename == text_module.__file__ else None

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(previous)
    return count


# --- replies -------------------------------------------------------------------------------------

LABELS = ["### AI:"]
STOPS = ["### 사용자:", "### AI:", "###"]


def stream(
    pieces: Sequence[str], *, stops: Sequence[str] = (), ai_labels: Sequence[str] = ()
) -> tuple[str, bool]:
    reply = ReplyText(stops=stops, ai_labels=ai_labels)
    return "".join(map(reply.feed, pieces)) + reply.flush(), reply.stopped


def assert_polished(
    raw: str,
    expected: str,
    *,
    stopped: bool = False,
    stops: Sequence[str] = (),
    ai_labels: Sequence[str] = LABELS,
) -> None:
    """However the raw answer is cut in two, or letter by letter, the polished one is the same."""
    cuts = [list(raw), *([raw[:place], raw[place:]] for place in range(len(raw) + 1))]
    for pieces in cuts:
        assert stream(pieces, stops=stops, ai_labels=ai_labels) == (expected, stopped)
    assert polish(raw, stops=stops, ai_labels=ai_labels) == (expected, stopped)


@pytest.mark.case("K10")
@pytest.mark.parametrize("spell", [str, nfd])
def test_the_next_turn_of_the_user_is_cut_off_with_the_white_space_before_it(
    spell: Callable[[str], str],
) -> None:
    raw = spell("네.\n### 사용자: 다음 질문")
    assert_polished(raw, spell("네."), stopped=True, stops=["### 사용자"])


@pytest.mark.case("K09")
def test_a_stop_that_is_glued_to_junk_is_cut() -> None:
    raw = "좋다고 합니다. 엾吃### 문단: 다음 이야기"
    assert_polished(raw, "좋다고 합니다. 엾吃", stopped=True, stops=["###"])


@pytest.mark.case("K11")
@pytest.mark.parametrize("label", ["### AI", "### AI:", "### AI：", "\n### AI :"])
@pytest.mark.parametrize(
    "raw",
    [
        "### AI: 안녕하세요",
        "### AI：안녕하세요",
        "### AI 안녕하세요",
        "### AI\n안녕하세요\n",
        "  \n\n### AI :\n\n안녕하세요",
        "### AI\r\n안녕하세요",
    ],
)
def test_a_label_at_the_beginning_is_dropped_even_if_it_is_a_stop(raw: str, label: str) -> None:
    assert_polished(raw, "안녕하세요", stops=["### AI", "### 사용자:"], ai_labels=[label])


@pytest.mark.case("K11")
def test_a_second_label_is_a_stop() -> None:
    raw = "### AI: 네.\n### AI: 또"
    assert_polished(raw, "네.", stopped=True, stops=["### AI:"])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("### AI는 좋다", "### AI는 좋다"),
        ("### A", "### A"),
        ("### AI", ""),
        ("### AI :) 네", ") 네"),
        ("### AI::", ":"),
        ("### AI" + " " * 20 + ": 네", ": 네"),
        ("### 답\n네", "### 답\n네"),
        ("네 ### AI: 아니요", "네 ### AI: 아니요"),
        ("### AI: ### AI: 네", "### AI: 네"),
    ],
)
def test_what_is_a_label_and_what_is_not(raw: str, expected: str) -> None:
    assert_polished(raw, expected)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("AI: 네", "네"),
        ("AI : 네", "네"),
        ("AI\n네", "네"),
        ("AI 기술은 좋다", "AI 기술은 좋다"),
        ("AI 답변: 네", "네"),
        ("AI 답변은 좋다", "AI 답변은 좋다"),
    ],
)
def test_a_label_that_is_a_word_needs_its_colon(raw: str, expected: str) -> None:
    assert_polished(raw, expected, ai_labels=["AI:", "AI 답변:"])


@pytest.mark.case("K11", "K12")
@pytest.mark.parametrize("spell", [str, nfd])
@pytest.mark.parametrize("spell_label", [str, nfd])
def test_a_label_in_either_spelling_is_dropped(
    spell: Callable[[str], str], spell_label: Callable[[str], str]
) -> None:
    raw = spell("### 답변: 각이 좋다")
    assert_polished(raw, spell("각이 좋다"), ai_labels=[spell_label("### 답변:")])
    raw = spell("### 답변각: 좋다")
    assert_polished(raw, raw, ai_labels=[spell_label("### 답변:")])


@pytest.mark.case("K21")
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (" 안녕하세요", "안녕하세요"),
        ("\n    print('가')\n    print('나')", "    print('가')\n    print('나')"),
        (" \n\n  - 하나\n  - 둘", "  - 하나\n  - 둘"),
        ("### AI:\n    코드", "    코드"),
        ("\n \n가", " \n가"),
        (" \n ", ""),
        ("", ""),
    ],
)
def test_a_reply_begins_without_blank_but_keeps_its_indentation(raw: str, expected: str) -> None:
    assert_polished(raw, expected)


def test_white_space_is_held_until_more_text_comes_and_dropped_at_the_end() -> None:
    reply = ReplyText()
    pieces = ["하나", "\n", "\n  ", "둘 ", ""]
    assert [reply.feed(piece) for piece in pieces] == ["하나", "", "", "\n\n  둘", ""]
    assert reply.flush() == ""


@pytest.mark.case("S50")
@pytest.mark.parametrize(
    ("stop", "expected"), [("\n", "첫 줄"), ("\n\n", "첫 줄 \n둘"), (" ", "첫"), ("줄 \n", "첫")]
)
def test_a_stop_of_white_space_fires_although_white_space_is_held(stop: str, expected: str) -> None:
    assert_polished("첫 줄 \n둘\n\n셋", expected, stopped=True, stops=[stop])


def test_the_reader_is_told_to_stop_as_soon_as_the_stop_is_there() -> None:
    reply = ReplyText(stops=["###"])
    assert [(reply.feed(char), reply.stopped) for char in "네##"][-1] == ("", False)
    assert (reply.feed("#"), reply.stopped) == ("", True)
    assert (reply.feed("더"), reply.flush()) == ("", "")


raw_replies = st.lists(
    st.sampled_from(
        [
            "### AI",
            "### 사용자",
            "###",
            ":",
            "：",
            " ",
            "\n",
            "    ",
            "는",
            "네.",
            nfd("각"),
            "👍🏻",
        ]
    )
    | korean_text(max_size=3),
    max_size=12,
).map("".join)


@pytest.mark.case("S01", "K10", "K11")
@settings(max_examples=500, deadline=None)
@given(raw_replies, places, st.sampled_from([(), ("### 사용자:",), STOPS, ("\n",), ("각", "\n\n")]))
def test_a_streamed_reply_is_the_reply_at_once(
    raw: str, at: list[int], stops: Sequence[str]
) -> None:
    whole = polish(raw, stops=stops, ai_labels=LABELS)
    assert stream(cut(raw, at), stops=stops, ai_labels=LABELS) == whole
    assert stream(list(raw), stops=stops, ai_labels=LABELS) == whole
    assert whole[0] == whole[0].rstrip()


@pytest.mark.case("S01", "K01")
@property_test
@given(raw_replies, places)
def test_the_whole_way_from_bytes_to_a_reply_does_not_depend_on_the_cuts(
    raw: str, at: list[int]
) -> None:
    decoder = Utf8Text()
    pieces = [decoder.feed(piece) for piece in cut(raw.encode(), at)]
    whole = polish(raw, stops=STOPS, ai_labels=LABELS)
    assert stream([*pieces, decoder.flush()], stops=STOPS, ai_labels=LABELS) == whole


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("좋아요.\n\n##", "좋아요."),
        ("좋아요.\n### 사용", "좋아요."),
        ("좋아요.\n##\n", "좋아요.\n##"),  # not where the text ends
        ("제 언어는 C#", "제 언어는 C#"),
        ("#", "#"),
        ("목록:\n- 하나\n-", "목록:\n- 하나\n-"),
    ],
)
def test_an_answer_that_breaks_off_inside_a_format_mark_loses_that_piece(
    text: str, shown: str
) -> None:
    assert polish(text, marks=("### 사용자",))[0] == shown
    reply = ReplyText(marks=("### 사용자",))
    assert "".join(map(reply.feed, text)) + reply.flush() == shown


def test_a_piece_of_the_callers_own_stop_string_is_text() -> None:
    assert polish("좋아요.\n##", stops=("### 사용자",))[0] == "좋아요.\n##"
