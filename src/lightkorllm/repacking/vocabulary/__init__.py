"""A tokenizer carried over to GGUF so that llama.cpp cuts every text into the same tokens."""

from __future__ import annotations

import gguf

from lightkorllm.repacking.vocabulary import byte_level, sentencepiece, special
from lightkorllm.repacking.vocabulary.source import Source

_LEAST = -1e6  # below every token that merging makes


def describe(source: Source, writer: gguf.GGUFWriter) -> None:
    """Write a tokenizer. Raises `ModelBroken` where llama.cpp cannot do the same."""
    texts = _texts(source)
    if len(set(texts)) != len(texts):
        raise source.refusal("같은 글자의 토큰이 여럿")
    if byte_level.is_byte_level(source):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(byte_level.pre_tokenizer(source))
        writer.add_token_merges(byte_level.merges(source))
    else:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_add_space_prefix(sentencepiece.add_space_prefix(source))
        order = sentencepiece.scores(source)
        writer.add_token_scores([order.get(text, _LEAST) for text in texts])
    writer.add_token_list(texts)
    writer.add_token_types(_types(source))
    special.describe(source, writer, {text: number for number, text in enumerate(texts)})


def notes(source: Source) -> list[str]:
    """Where llama.cpp's tokens may differ after all, in Korean."""
    bytes_alone = byte_level.is_byte_level(source)
    found = byte_level.notes(source) if bytes_alone else sentencepiece.notes(source)
    dropped = sum(token.number >= source.size for token in source.added())
    if dropped:
        found.append(f"임베딩이 없는 토큰 {dropped}개는 뺐습니다.")
    stripping = [token.text for token in source.added() if token.strips]
    if stripping:
        found.append(f"llama.cpp는 {', '.join(stripping[:5])} 토큰 앞뒤의 빈칸을 지우지 않습니다.")
    return found


def _texts(source: Source) -> list[str]:
    """Text of each token by id; ids that the tokenizer does not use get a name of their own."""
    texts = [f"[PAD{number}]" for number in range(source.size)]
    for text, number in source.vocab.items():
        if number < source.size:
            texts[number] = text
    for token in source.added():
        if token.number < source.size:
            texts[token.number] = token.text
    return texts


def _types(source: Source) -> list[int]:
    kinds = gguf.TokenType
    types = [kinds.UNUSED] * source.size
    bytes_too = bool(source.model.get("byte_fallback"))
    for text, number in source.vocab.items():
        if number < source.size:
            byte = bytes_too and sentencepiece.is_byte(text)
            types[number] = kinds.BYTE if byte else kinds.NORMAL
    for token in source.added():
        if token.number < source.size:
            types[token.number] = kinds.CONTROL if token.special else kinds.USER_DEFINED
    return [int(kind) for kind in types]
