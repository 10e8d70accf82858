"""Slots: who works, who waits, who is turned away."""

from __future__ import annotations

import threading

import pytest

from lightkorllm.engines.slots import Slots
from lightkorllm.errors import EngineBusy


def test_those_who_find_no_slot_wait_in_the_order_they_came() -> None:
    slots = Slots(1, queue=2)
    first, second, third = slots.line_up(), slots.line_up(), slots.line_up()
    assert first.wait(0)
    assert not second.wait(0)
    slots.leave(first)
    assert second.wait(0)
    assert not third.wait(0)


def test_a_full_line_turns_the_next_one_away_and_says_when_to_come_back() -> None:
    slots = Slots(1, queue=1)
    slots.line_up(), slots.line_up()
    with pytest.raises(EngineBusy) as refused:
        slots.line_up()
    assert refused.value.retry_after > 0
    assert "동시 1개" in str(refused.value)


def test_leaving_the_line_makes_room_for_others() -> None:
    slots = Slots(1, queue=1)
    slots.line_up()
    with slots.line_up() as waiting:
        assert not waiting.wait(0)
    slots.line_up()
    assert (slots.busy, slots.waiting) == (1, 1)


def test_a_slot_is_given_back_also_when_the_work_fails() -> None:
    slots = Slots(1, queue=0)
    with pytest.raises(ZeroDivisionError), slots.line_up():
        raise ZeroDivisionError
    assert slots.busy == 0


def test_never_more_work_at_once_than_there_are_slots() -> None:
    slots, seen, lock = Slots(3, queue=100), [], threading.Lock()

    def work() -> None:
        with slots.line_up() as place:
            while not place.wait(0.05):
                pass
            with lock:
                seen.append(slots.busy)

    threads = [threading.Thread(target=work) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 40
    assert max(seen) <= 3
    assert (slots.busy, slots.waiting) == (0, 0)


def test_kinds_that_do_not_mix_take_turns_and_none_is_overtaken_for_ever() -> None:
    slots = Slots(2, queue=8, mixed=False)
    first, second = slots.line_up("가"), slots.line_up("가")
    other, third, another = slots.line_up("나"), slots.line_up("가"), slots.line_up("나")
    slots.leave(first)
    assert not any(place.wait(0) for place in (other, third, another))
    slots.leave(second)
    assert other.wait(0)
    assert another.wait(0)
    assert not third.wait(0)
    slots.leave(other)
    late = slots.line_up("나")
    slots.leave(another)
    assert third.wait(0)
    assert not late.wait(0)
    slots.leave(third)
    assert late.wait(0)


def test_one_who_leaves_the_line_lets_those_behind_in() -> None:
    slots = Slots(2, queue=8, mixed=False)
    slots.line_up("가")
    blocking, behind = slots.line_up("나"), slots.line_up("가")
    assert not behind.wait(0)
    slots.leave(blocking)
    assert behind.wait(0)


def test_leaving_twice_changes_nothing() -> None:
    slots = Slots(1, queue=1)
    place = slots.line_up()
    slots.leave(place)
    slots.leave(place)
    assert slots.line_up().wait(0)
