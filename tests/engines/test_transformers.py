"""The transformers engine on tiny models: the reference's own answers, one by one or together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import checkpoints
from checkpoints import settings
from lightkorllm.engines.batch import Job
from lightkorllm.engines.transformers import TransformersEngine
from lightkorllm.errors import (
    BadRequest,
    ContextOverflow,
    EngineFailed,
    EngineUnavailable,
    ModelBroken,
    Unsupported,
)
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams

PROMPTS = (
    "안녕하세요.",
    "한국의 수도는 어디인가요? 그리고 그곳에는 무엇이 있나요?",
    "옛날 옛적에 깊은 산속 마을에 소년이 살았습니다. " * 6,
    "1 + 1 =",
    "서울은 대한민국의 수도입니다. 인구가 가장 많은 도시이기도 합니다. " * 3,
)


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(settings(tiny_llama, queue=16))
    yield engine
    assert engine.slots.busy == engine.slots.waiting == 0
    engine.close()


@pytest.fixture(scope="module", params=["llama", "gemma3", "qwen3"])
def any_engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TransformersEngine]:
    folder = tmp_path_factory.mktemp("models") / request.param
    engine = TransformersEngine(settings(getattr(checkpoints, request.param)(folder)))
    yield engine
    engine.close()


def _ask(prompt: str = PROMPTS[1], tokens: int = 12, **params: Any) -> GenerationRequest:
    plain = {"temperature": 0, "repetition_penalty": 1, **params}
    return GenerationRequest(prompt, SamplingParams(max_tokens=tokens, **plain))


def _reply(engine: TransformersEngine, prompt: str = PROMPTS[1], **params: Any) -> Reply:
    return Reply.join(engine.stream(_ask(prompt, **params)))


def _generate(engine: TransformersEngine, prompt: str, **options: Any) -> list[int]:
    """What transformers itself answers."""
    import torch

    ids = torch.tensor([engine._vocabulary.encode(prompt)])
    with torch.inference_mode():
        found = engine.model.generate(
            ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **options
        )
    return [int(token) for token in found[0, ids.shape[1] :]]


def _ids(engine: TransformersEngine, prompt: str, tokens: int, **params: Any) -> list[int]:
    """The ids of an answer, straight from the batch."""
    from lightkorllm.engines.batch import Token

    request = _ask(prompt, tokens, **params)
    job = Job(engine._vocabulary.encode(prompt), request.params)
    engine._batch.add(job)
    found = []
    while isinstance(event := job.next(30), Token):
        found.append(event.id)
    return found


def test_a_greedy_answer_is_the_one_that_transformers_gives(
    any_engine: TransformersEngine,
) -> None:
    for prompt in PROMPTS:
        expected = _generate(any_engine, prompt, max_new_tokens=24, do_sample=False)
        assert _ids(any_engine, prompt, 24) == expected


def test_penalties_are_those_of_transformers(engine: TransformersEngine) -> None:
    options = {"max_new_tokens": 24, "do_sample": False, "repetition_penalty": 1.3}
    expected = _generate(engine, PROMPTS[1], **options)
    assert _ids(engine, PROMPTS[1], 24, repetition_penalty=1.3) == expected
    assert expected != _generate(engine, PROMPTS[1], max_new_tokens=24, do_sample=False)


def test_requests_that_come_at_different_times_get_the_answers_they_get_alone(
    any_engine: TransformersEngine,
) -> None:
    lengths = (40, 25, 30, 12, 33)
    pairs = list(zip(PROMPTS, lengths, strict=True))
    alone = [_ids(any_engine, prompt, tokens) for prompt, tokens in pairs]
    together: list[list[int]] = [[] for _ in pairs]

    def answer(number: int) -> None:
        together[number] = _ids(any_engine, pairs[number][0], pairs[number][1])

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(len(pairs))]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join(60)
    assert together == alone


def test_greedy_and_sampled_answers_go_together_and_disturb_each_other_not(
    engine: TransformersEngine,
) -> None:
    kinds: list[dict[str, Any]] = [
        {"temperature": 0},
        {"temperature": 1.0, "seed": 1, "top_k": 0},
        {"temperature": 0.8, "seed": 2, "top_p": 0.8},
        {"temperature": 1.2, "seed": 3, "min_p": 0.1, "presence_penalty": 1.0},
    ]
    alone = [_reply(engine, tokens=30, **kind).text for kind in kinds]
    together = [""] * len(kinds)

    def answer(number: int) -> None:
        together[number] = _reply(engine, tokens=30, **kinds[number]).text

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(len(kinds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == alone
    assert len(set(alone)) == len(alone)


@pytest.mark.case("S29")
def test_the_same_seed_gives_the_same_answer_and_another_another(
    engine: TransformersEngine,
) -> None:
    first, again, other = (
        _reply(engine, tokens=24, temperature=2.0, top_k=0, seed=seed).text for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_without_a_seed_two_answers_differ(engine: TransformersEngine) -> None:
    hot: dict[str, Any] = {"tokens": 24, "temperature": 2.0, "top_k": 0, "min_p": 0.0}
    assert _reply(engine, **hot).text != _reply(engine, **hot).text


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}])
def test_the_narrowest_filters_leave_only_the_likeliest_token(
    engine: TransformersEngine, narrow: dict[str, Any]
) -> None:
    greedy = _reply(engine, tokens=16).text
    assert _reply(engine, tokens=16, temperature=1.5, **narrow).text == greedy


@pytest.mark.parametrize("end", [2, 300])
def test_an_answer_ends_at_each_of_the_ends_that_the_model_names(
    tiny_llama: Path, tmp_path: Path, end: int
) -> None:
    import shutil

    folder = shutil.copytree(tiny_llama, tmp_path / "여러 끝")
    checkpoints.edit(folder / "generation_config.json", eos_token_id=[2, 300])
    engine = TransformersEngine(settings(folder))
    with closing(engine):
        reply = _reply(engine, logit_bias=((end, 100.0),))
        assert (reply.text, reply.finish_reason) == ("", "stop")
        assert reply.usage.completion_tokens == 1
        assert _reply(engine, logit_bias=((301, 100.0),)).finish_reason == "length"


def test_a_bias_forces_and_forbids_tokens(engine: TransformersEngine) -> None:
    plain = _ids(engine, PROMPTS[1], 8)
    assert _ids(engine, PROMPTS[1], 4, logit_bias=((400, 100.0),)) == [400] * 4
    without = _ids(engine, PROMPTS[1], 8, logit_bias=((plain[0], -100.0),))
    assert plain[0] not in without
    with pytest.raises(BadRequest, match="999999") as refused:
        _reply(engine, logit_bias=((999_999, 1.0),))
    assert refused.value.param == "logit_bias"


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_count_penalties_look_at_the_answer_and_not_at_the_prompt(penalty: str) -> None:
    import torch

    from lightkorllm.engines.sampling import processors

    params = SamplingParams(repetition_penalty=1, **{penalty: 0.5})  # type: ignore[arg-type]
    processor = processors(params, prompt_length=2, device=torch.device("cpu"))
    said: Any = torch.tensor([[4, 4, 1, 2, 2]])
    scores = processor(said, torch.zeros(1, 5))
    twice = 0.5 if penalty == "presence_penalty" else 1.0
    assert scores[0].tolist() == [0, -0.5, -twice, 0, 0]


def test_an_answer_stops_where_the_context_is_full(tiny_llama: Path) -> None:
    engine = TransformersEngine(settings(tiny_llama, context_length=64))
    with closing(engine):
        assert engine.info.context_length == 64
        reply = _reply(engine, tokens=500)
        assert reply.finish_reason == "length"
        assert reply.usage.total_tokens == 64
        with pytest.raises(ContextOverflow):
            _reply(engine, "가나다" * 60)
        assert _reply(engine, "가", tokens=2).usage.completion_tokens == 2


def test_log_probabilities_are_those_of_the_model_itself(engine: TransformersEngine) -> None:
    import torch

    reply = _reply(engine, tokens=4, logprobs=3, repetition_penalty=1.5)
    ids = _ids(engine, PROMPTS[1], 4, repetition_penalty=1.5)
    whole = torch.tensor([engine._vocabulary.encode(PROMPTS[1]) + ids])
    with torch.inference_mode():
        logprobs = torch.log_softmax(engine.model(whole).logits[0].float(), dim=-1)
    start = whole.shape[1] - len(ids) - 1
    for place, (token, rated) in enumerate(zip(ids, reply.logprobs, strict=True)):
        assert rated.logprob == pytest.approx(float(logprobs[start + place, token]), abs=1e-4)
        assert len(rated.top) == 3
        assert rated.top[0][1] >= rated.logprob - 1e-6
        assert rated.token == engine._vocabulary.token_bytes(token)


def test_the_bytes_of_the_tokens_add_up_to_the_text(reciting: TransformersEngine) -> None:
    chunks = list(reciting.stream(_ask(tokens=40, logprobs=0)))
    tokens = b"".join(token.token for chunk in chunks for token in chunk.logprobs)
    text = "".join(chunk.text for chunk in chunks)
    assert text
    assert tokens.decode("utf-8", "ignore").startswith(text)


@pytest.mark.case("S06")
def test_leaving_frees_the_row_before_the_next_token(engine: TransformersEngine) -> None:
    with closing(engine.stream(_ask(tokens=1500))) as stream:
        next(chunk for chunk in stream if chunk.text)
        assert _rows(engine) == 1
    assert _until(lambda: _rows(engine) == 0)


@pytest.mark.case("S06")
def test_a_long_prompt_is_left_while_it_is_read_and_stalls_nobody(
    engine: TransformersEngine,
) -> None:
    long = "아주 긴 이야기입니다. " * 120
    with closing(engine.stream(_ask(tokens=1500))) as running, _fault(engine, _slow, reading=True):
        next(chunk for chunk in running if chunk.text)
        with closing(engine.stream(_ask(long))) as stream:
            assert next(stream).text == ""
            reading = engine._batch._reading
            assert reading is not None
            pieces = [next(running).completion_tokens for _ in range(3)]
            assert pieces == sorted(pieces)
        assert _until(lambda: engine._batch._reading is None)
        assert reading.done < len(reading.job.prompt)


def test_who_waits_in_line_can_leave_it(engine: TransformersEngine) -> None:
    streams = [engine.stream(_ask(tokens=1500)) for _ in range(engine.slots.count + 1)]
    for stream in streams:
        next(stream)
    assert engine.slots.waiting == 1
    for stream in reversed(streams):
        stream.close()
    assert engine.slots.busy == engine.slots.waiting == 0
    assert _until(lambda: _rows(engine) == 0)


def test_a_prompt_read_in_pieces_gives_the_same_answer(any_engine: TransformersEngine) -> None:
    long = "아주 긴 이야기입니다. 그래서 여러 번에 나누어 읽습니다. " * 12
    assert len(any_engine._vocabulary.encode(long)) > 2 * any_engine._batch._limits.chunk
    expected = _generate(any_engine, long, max_new_tokens=12, do_sample=False)
    assert _ids(any_engine, long, 12) == expected


def _rows(engine: TransformersEngine) -> int:
    return sum(len(group.rows) for group in engine._batch._groups.values())


def _until(true: Any, within: float = 5.0) -> bool:
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@pytest.mark.parametrize("early", [False, True])
def test_beams_find_what_transformers_finds(engine: TransformersEngine, early: bool) -> None:
    ids = _generate(
        engine, PROMPTS[1], max_new_tokens=12, num_beams=3, early_stopping=early, do_sample=False
    )
    chunks = [*engine.stream(_ask(num_beams=3, early_stopping=early))]
    reply = Reply.join(chunks)
    assert reply.text == engine._vocabulary.decode(ids).rstrip("\ufffd")
    assert reply.usage.completion_tokens == 12
    assert reply.finish_reason == "length"


def test_others_are_answered_between_the_steps_of_beams(engine: TransformersEngine) -> None:
    with closing(engine.stream(_ask(tokens=1500, num_beams=2))) as beams:
        assert next(beams).text == ""
        assert _until(lambda: engine._batch._searching is not None)
        assert _reply(engine, tokens=4).usage.completion_tokens == 4
        assert engine._batch._searching is not None
    assert _until(lambda: engine._batch._searching is None)


def test_beams_and_log_probabilities_do_not_go_together(engine: TransformersEngine) -> None:
    with pytest.raises(Unsupported) as refused:
        next(engine.stream(_ask(num_beams=2, logprobs=1)))
    assert refused.value.param == "logprobs"


def test_adapters_answer_by_name_together_and_leave_the_base_alone(
    tiny_llama: Path, tiny_lora: Path, tmp_path: Path, engine: TransformersEngine
) -> None:
    other = checkpoints.lora(tiny_llama, tmp_path / "다른 어댑터", seed=2)
    plain = _reply(engine, tokens=16).text
    with closing(
        TransformersEngine(settings(tiny_llama, adapters={"하나": tiny_lora, "둘": other}))
    ) as adapted:
        assert adapted.capabilities.adapters == ("하나", "둘")
        names = (None, "하나", "둘")
        alone = [_adapted(adapted, name) for name in names]
        assert alone[0] == plain
        assert len(set(alone)) == 3
        assert _adapted(adapted, "하나", num_beams=2) != _adapted(adapted, None, num_beams=2)
        assert _all_at_once(adapted, names) == alone


def _adapted(engine: TransformersEngine, name: str | None, **params: Any) -> str:
    request = GenerationRequest(PROMPTS[1], _ask(tokens=16, **params).params, name)
    return Reply.join(engine.stream(request)).text


def _all_at_once(engine: TransformersEngine, names: tuple[str | None, ...]) -> list[str]:
    found = [""] * len(names)

    def answer(number: int) -> None:
        found[number] = _adapted(engine, names[number])

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_a_default_adapter_answers_those_who_name_none(
    tiny_llama: Path, tiny_lora: Path, engine: TransformersEngine
) -> None:
    plain = _reply(engine, tokens=16).text
    with closing(
        TransformersEngine(settings(tiny_llama, adapters={"나": tiny_lora}, default_adapter="나"))
    ) as adapted:
        assert _adapted(adapted, None) == _adapted(adapted, "나") != plain


@pytest.mark.case("S11")
@pytest.mark.parametrize("moment", ["reading", "answering"])
def test_out_of_memory_fails_one_request_with_advice_and_the_next_one_works(
    engine: TransformersEngine, moment: str
) -> None:
    expected = _reply(engine, tokens=8).text
    long = "메모리가 모자랄 만큼 긴 질문입니다. " * 4
    with _fault(engine, _out_of_memory, reading=moment == "reading"):
        with pytest.raises(EngineFailed, match="메모리") as failed:
            list(engine.stream(_ask(long)))
        assert "GGUF" in failed.value.message
    assert _reply(engine, tokens=8).text == expected
    assert engine.ready


@pytest.mark.case("S11")
def test_out_of_memory_while_answering_takes_the_longest_and_spares_the_others(
    engine: TransformersEngine,
) -> None:
    expected = _reply(engine, tokens=200).text
    with closing(engine.stream(_ask("긴 질문입니다. " * 9, tokens=1500))) as long:
        next(chunk for chunk in long if chunk.text)
        with closing(engine.stream(_ask(tokens=200))) as short:
            first = next(chunk for chunk in short if chunk.text).text
            once = _fault(engine, _out_of_memory, reading=False, times=1)
            with once, pytest.raises(EngineFailed, match="메모리"):
                list(long)
            rest = "".join(chunk.text for chunk in short)
    assert first + rest == expected


@pytest.mark.case("Q14")
def test_logits_that_are_no_numbers_fail_that_request_and_the_next_one_works(
    engine: TransformersEngine,
) -> None:
    expected = _reply(engine, tokens=8).text
    with _fault(engine, _not_a_number), pytest.raises(EngineFailed, match="GTX 16"):
        list(engine.stream(_ask()))
    assert _reply(engine, tokens=8).text == expected


def _out_of_memory(output: Any) -> Any:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def _not_a_number(output: Any) -> Any:
    output.logits = output.logits * float("nan")
    return output


def _slow(output: Any) -> Any:
    time.sleep(0.15)
    return output


@contextmanager
def _fault(
    engine: TransformersEngine,
    fault: Callable[[Any], Any],
    *,
    reading: bool | None = None,
    times: int = 1_000_000,
) -> Iterator[None]:
    """A fault of the model's forward passes: of those that read prompts, of steps, or of all."""
    left = [times]

    def hook(model: Any, args: Any, kwargs: Any, output: Any) -> Any:
        if left[0] < 1 or reading not in (None, kwargs["input_ids"].shape[1] > 1):
            return output
        left[0] -= 1
        return fault(output)

    handle = engine.model.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def test_gptq_weights_answer_as_their_plain_twins(tiny_gptq: Path, tiny_llama: Path) -> None:
    with closing(TransformersEngine(settings(tiny_gptq, dtype="auto"))) as packed:
        assert packed.compute.dtype == "bfloat16"
        reply = _reply(packed, tokens=8)
        assert reply.usage.completion_tokens == 8


def test_an_adapter_works_on_packed_weights_too(tiny_gptq: Path, tiny_lora: Path) -> None:
    packed = settings(tiny_gptq, dtype="auto", adapters={"나": tiny_lora})
    with closing(TransformersEngine(packed)) as engine:
        plain = _adapted(engine, None)
        assert _adapted(engine, "나") != plain
        assert _adapted(engine, None) == plain


def test_a_checkpoint_that_lacks_a_weight_is_refused_and_not_filled_up(
    tiny_llama: Path, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_llama, tmp_path / "모자란 모델")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelBroken, match=r"layers\.1\.mlp\.up_proj"):
        TransformersEngine(settings(folder))


def test_closing_ends_those_who_wait_and_refuses_the_next(tiny_llama: Path) -> None:
    engine = TransformersEngine(settings(tiny_llama))
    stream = engine.stream(_ask(tokens=1500))
    next(chunk for chunk in stream if chunk.text)
    engine.close()
    engine.close()
    with pytest.raises(EngineUnavailable):
        list(stream)
    assert not engine.ready
    with pytest.raises(EngineUnavailable):
        list(engine.stream(_ask()))


def test_a_closed_engine_leaves_no_weights_in_memory(tiny_llama: Path) -> None:
    import gc
    import weakref

    engine = TransformersEngine(settings(tiny_llama))
    _reply(engine, tokens=2)
    weights = weakref.ref(engine.model.lm_head.weight)
    engine.close()
    gc.collect()
    assert weights() is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_computing_leaves_nobody_waiting(tiny_llama: Path) -> None:
    def bug(output: Any) -> Any:
        raise KeyError("bug")

    with closing(TransformersEngine(settings(tiny_llama))) as engine:
        streams = [engine.stream(_ask(tokens=1500)) for _ in range(2)]
        for stream in streams:
            next(chunk for chunk in stream if chunk.text)
        with _fault(engine, bug):
            for stream in streams:
                with pytest.raises(EngineUnavailable):
                    list(stream)
        assert not engine.ready
        with pytest.raises(EngineUnavailable):
            list(engine.stream(_ask()))
