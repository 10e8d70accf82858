"""What all prompt formats promise, and the stop strings and labels of each."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightkorllm import prompts
from lightkorllm.conversation import Conversation, Turn
from lightkorllm.errors import BadRequest, OptionError, TemplateFailed
from lightkorllm.prompts.base import Piece, PromptFormat, Settings

UNHURRIED = settings(deadline=None)

TEXTS = st.text(alphabet="가힣뷁ㅋ 한\n\t#:AIU</s>👋🏽", max_size=24)
WORDS = TEXTS.filter(str.strip)
USER_TURNS = st.builds(lambda text: Turn("user", text), TEXTS)
ANSWERS = st.builds(lambda text: Turn("assistant", text), TEXTS)

ANY_CONVERSATION = st.builds(
    Conversation, system=TEXTS, turns=st.lists(USER_TURNS | ANSWERS, min_size=1, max_size=6)
)
EXCHANGES = st.lists(st.tuples(USER_TURNS, ANSWERS), max_size=3)
ASKED = st.builds(
    lambda system, past, question: Conversation(
        system, (*(turn for pair in past for turn in pair), question)
    ),
    TEXTS,
    EXCHANGES,
    USER_TURNS,
)

# What the model emits around an answer because the format's own text has it there.
AROUND_ANSWER = {
    "vicuna": (" ", "</s>"),
    "llama2": (" ", " </s>"),
    "chatml": ("", "<|im_end|>"),
}

STOPS = {
    "alpaca": ("### Instruction:",),
    "chatml": ("<|im_end|>",),
    "eeve": ("Human:", "</s>", "<|im_end|>"),
    "koalpaca": ("###", "<|endoftext|>"),
    "kullm_bi": ("### Instruction", "###"),
    "kullm_ko": ("### 명령어:", "###"),
    "lightkor": ("### 사용자", "### AI:"),
    "llama2": ("</s>",),
    "solar": ("</s>", "### User:"),
    "vicuna": ("</s>", "USER:"),
}


def test_each_file_is_a_format_and_nothing_else_is() -> None:
    assert prompts.names() == (*sorted((*STOPS, "template")),)


@pytest.mark.parametrize("name", ["", "base", "_labelled", "os", "../lightkor", "LightKor", "없음"])
def test_an_unknown_name_lists_the_names_there_are(name: str) -> None:
    with pytest.raises(OptionError, match=r"^--prompt_format: .*alpaca, chatml, .*, vicuna$"):
        prompts.get(name, Settings())


@pytest.mark.parametrize("name", STOPS)
def test_a_format_knows_its_name_and_its_stop_strings(name: str) -> None:
    prompt_format = prompts.get(name, Settings())

    assert prompt_format.name == name
    assert prompt_format.render(Conversation.ask("안녕?")).stop == STOPS[name]


@UNHURRIED
@given(conversation=ASKED, answer=TEXTS)
def test_what_is_served_is_the_beginning_of_what_was_learned(
    prompt_format: PromptFormat, conversation: Conversation, answer: str
) -> None:
    asked = prompt_format.render(conversation)
    answered = prompt_format.render(conversation.add("assistant", answer))

    assert answered.text.startswith(asked.text)
    assert answered.stop == asked.stop
    assert not any(piece.learned for piece in asked.pieces[-1:])


@UNHURRIED
@given(conversation=ANY_CONVERSATION, answer=TEXTS, question=TEXTS)
def test_a_conversation_only_ever_grows_at_its_end(
    plain_format: PromptFormat, conversation: Conversation, answer: str, question: str
) -> None:
    asked = conversation.add("user", question)
    answered = asked.add("assistant", answer)
    asked_again = answered.add("user", "그리고?")

    texts = [plain_format.render(each).text for each in (asked, answered, asked_again)]

    assert texts[1].startswith(texts[0])
    assert texts[2].startswith(texts[1])


@UNHURRIED
@given(conversation=ASKED, answer=TEXTS)
def test_exactly_the_answers_are_learned(
    plain_format: PromptFormat, conversation: Conversation, answer: str
) -> None:
    answered = conversation.add("assistant", answer)
    start, end = AROUND_ANSWER.get(plain_format.name, ("", ""))

    learned = [piece.text for piece in plain_format.render(answered).pieces if piece.learned]

    said = [turn.text for turn in answered.turns if turn.role == "assistant"]
    assert learned == [f"{start}{text}{end}" for text in said]


@UNHURRIED
@given(conversation=ASKED, answer=WORDS)
def test_the_last_answer_is_learned_to_its_end_marker(
    prompt_format: PromptFormat, conversation: Conversation, answer: str
) -> None:
    answered = conversation.add("assistant", answer)

    learned = [piece.text for piece in prompt_format.render(answered).pieces if piece.learned]

    assert answered.turns[-1].text.strip() in learned[-1]


@pytest.mark.case("S18")
@UNHURRIED
@given(conversation=ANY_CONVERSATION)
def test_any_order_of_turns_is_written_or_refused_with_a_reason(
    prompt_format: PromptFormat, conversation: Conversation
) -> None:
    leads = conversation.turns[0].role == "assistant"
    try:
        text = prompt_format.render(conversation).text
    except TemplateFailed:
        assert leads
        assert prompt_format.name == "template"
        return

    last = 0
    for turn in conversation.turns:
        last = text.index(turn.text.strip(), last)
    assert conversation.system.strip() in text


@UNHURRIED
@given(conversation=ANY_CONVERSATION)
def test_no_empty_and_no_needless_piece(
    plain_format: PromptFormat, conversation: Conversation
) -> None:
    pieces = plain_format.render(conversation).pieces

    assert all(piece.text or piece.learned for piece in pieces)
    assert all(first.learned or second.learned for first, second in pairwise(pieces))


def test_an_empty_conversation_is_refused(prompt_format: PromptFormat) -> None:
    with pytest.raises(BadRequest, match="대화가 비어 있습니다") as refused:
        prompt_format.render(Conversation(system="지시만 있습니다."))

    assert refused.value.param == "input"


@pytest.mark.parametrize("system", ["", " ", "\n\n"])
def test_an_empty_instruction_leaves_no_blank_lines(
    plain_format: PromptFormat, system: str
) -> None:
    blank = plain_format.render(Conversation.ask("안녕?", system=system)).text

    assert blank == plain_format.render(Conversation.ask("안녕?")).text
    assert not blank[0].isspace()


@pytest.mark.case("S18")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lightkor", "### 사용자:\n하나\n\n### 사용자:\n둘\n\n### AI:\n"),
        ("koalpaca", "### 질문: 하나\n\n### 질문: 둘\n\n### 답변:"),
        ("solar", "### User:\n하나\n\n### User:\n둘\n\n### Assistant:\n"),
        ("llama2", "<s>[INST] 하나\n\n둘 [/INST]"),
    ],
)
def test_two_questions_in_a_row(name: str, text: str) -> None:
    conversation = Conversation.ask("하나").add("user", "둘")

    assert prompts.get(name, Settings()).render(conversation).text == text


@pytest.mark.case("S18")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lightkor", "지시\n\n### AI:\n어서 오세요\n\n### 사용자:\n네\n\n### AI:\n"),
        ("eeve", "지시\nAssistant:\n어서 오세요\nHuman: 네\nAssistant:\n"),
        (
            "llama2",
            "<s>[INST] <<SYS>>\n지시\n<</SYS>>\n\n [/INST] 어서 오세요 </s><s>[INST] 네 [/INST]",
        ),
    ],
)
def test_a_greeting_before_the_first_question(name: str, text: str) -> None:
    greeting = Turn("assistant", "어서 오세요")
    conversation = Conversation("지시", (greeting, Turn("user", "네")))

    assert prompts.get(name, Settings()).render(conversation).text == text


def test_two_answers_in_a_row_are_learned_each_in_lightkor_and_together_in_llama2() -> None:
    talk = Conversation.ask("안녕").add("assistant", "네").add("assistant", "반가워요")

    def learned(name: str) -> list[Piece]:
        pieces = prompts.get(name, Settings()).render(talk).pieces
        return [piece for piece in pieces if piece.learned]

    assert learned("lightkor") == [Piece("네", True), Piece("반가워요", True)]
    assert learned("llama2") == [Piece(" 네\n\n반가워요 </s>", True)]


@pytest.mark.parametrize("human", ["### 손님", "### 손님:", " ### 손님 : "])
@pytest.mark.parametrize("ai", ["### 점원", "### 점원:"])
def test_a_colon_that_a_label_has_is_not_doubled(human: str, ai: str) -> None:
    settings = Settings(human_str=human, ai_str=ai, stop_str="")

    prompt = prompts.get("lightkor", settings).render(Conversation.ask("얼마예요?"))

    assert prompt.text == "### 손님:\n얼마예요?\n\n### 점원:\n"
    assert prompt.ai_labels == ("### 점원",)


@pytest.mark.case("K10")
@pytest.mark.parametrize(
    ("human", "stop", "stops"),
    [
        ("### 사용자", "### 사용자", ("### 사용자",)),
        ("### 사용자:", "", ("### 사용자",)),
        ("### 사용자", "끝.", ("끝.", "### 사용자")),
        ("사용자", "### 사용자", ("### 사용자", "사용자:")),  # "사용자가" is an ordinary word
        ("Human:", "", ("Human:",)),
    ],
)
def test_the_users_label_always_stops_an_answer(
    human: str, stop: str, stops: tuple[str, ...]
) -> None:
    settings = Settings(human_str=human, stop_str=stop)

    assert prompts.get("lightkor", settings).render(Conversation.ask("네?")).stop == (
        *stops,
        "### AI:",
    )


@pytest.mark.parametrize("label", ["", " ", ":", "\n:"])
def test_a_label_without_a_name_is_refused(label: str) -> None:
    with pytest.raises(OptionError, match="--human_str"):
        Settings(human_str=label)
    with pytest.raises(OptionError, match="--ai_str"):
        Settings(ai_str=label)
