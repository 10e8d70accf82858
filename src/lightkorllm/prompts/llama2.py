"""The prompt of Llama-2-Chat (meta-llama): strictly alternating, the system text in `<<SYS>>`."""

from __future__ import annotations

from lightkorllm.conversation import Conversation, Turn
from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import Prompt, PromptFormat, Settings, alternate, require_turns

_SHAPE = Labelled(
    name="llama2",
    user="<s>[INST] ",
    after_user=" [/INST]",
    assistant="",
    answer_start=" ",
    answer_end=" </s>",
    between="",
    stop=("</s>",),
)


def build(settings: Settings) -> PromptFormat:
    """`<s>[INST] <<SYS>>\\n{S}\\n<</SYS>>\\n\\n{U} [/INST] {A} </s><s>[INST] {U} [/INST]`."""
    return Llama2()


class Llama2:
    """Every exchange has its own `<s>` and `</s>`, as Meta's own code writes them.

    Turns in a row from one side are joined by a blank line. What the assistant said before the
    user's first word becomes the answer to an empty question.
    """

    name = "llama2"

    def render(self, conversation: Conversation) -> Prompt:
        """See `PromptFormat`."""
        require_turns(conversation)
        turns = alternate(conversation.turns)
        if turns[0].role == "assistant":
            turns = (Turn("user", ""), *turns)
        if conversation.system.strip():
            first = f"<<SYS>>\n{conversation.system}\n<</SYS>>\n\n{turns[0].text}"
            turns = (Turn("user", first), *turns[1:])
        return _SHAPE.render(Conversation(turns=turns))
