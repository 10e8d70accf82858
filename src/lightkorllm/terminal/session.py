"""A conversation and what its commands do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lightkorllm.errors import BadRequest, LightKorError
from lightkorllm.generation import NO_ADAPTER
from lightkorllm.terminal import commands, files, interrupts, settings
from lightkorllm.terminal.answering import Answering
from lightkorllm.terminal.backend import Backend
from lightkorllm.terminal.compare import adapter_to_compare, compare
from lightkorllm.terminal.screen import Screen
from lightkorllm.terminal.settings import Settings
from lightkorllm.terminal.talk import Talk

AI = "AI> "
STOPPED = "(멈춤)"
_NONE = ("없음", NO_ADAPTER)
_DEFAULT = ("기본", "default")


class Session:
    """What is said so far, and with what the next question is asked."""

    def __init__(
        self,
        backend: Backend,
        screen: Screen,
        *,
        system: str = "",
        settings: Settings | None = None,
        adapter: str | None = None,
    ) -> None:
        self.talk = Talk(system)
        self.adapter: str | None = None
        self.over = False
        self._backend = backend
        self._screen = screen
        self._settings = settings or Settings()
        self._withdrawn: str | None = None  # a question that got no word of an answer
        self._own_file: Path | None = None
        self._does: dict[str, Callable[[str], None]] = {
            "help": self._help,
            "system": self._system,
            "history": self._history,
            "undo": self._undo,
            "retry": self._retry,
            "set": self._set,
            "adapter": self._adapter,
            "compare": self._compare,
            "save": self._save,
            "load": self._load,
            "quit": self._quit,
        }
        if adapter is not None:
            self._choose(adapter)

    def handle(self, line: str) -> None:
        """Do what a line says: a command, or words to the model. Faults are shown."""
        try:
            found = commands.parse(line)
            if found is not None:
                command, argument = found
                self._does[command.english](argument)
            elif line:
                self._ask(self.talk, line.removeprefix("/") if line.startswith("//") else line)
        except LightKorError as error:
            self._screen.error(error.message)

    def greet(self) -> None:
        model = self._backend.model
        told = [model.name]
        if model.context_length:
            told.append(f"문맥 {model.context_length:,}토큰")
        if model.adapters:
            told.append(f"어댑터 {self._adapter_name()}")
        self._screen.say(" · ".join(told))
        self._screen.note("Enter 보내기 · Alt-Enter 줄 바꿈 · Ctrl-D 끝내기 · 명령은 /도움말")

    def _ask(self, talk: Talk, question: str) -> None:
        """Answer `question` after `talk`; what the answer says stays, even of a broken one."""
        self._withdrawn = question
        asked = talk.add("user", question)
        with interrupts.caught() as keyboard:
            answering = Answering(
                self._backend.ask(asked.conversation, self._settings, adapter=self.adapter),
                keyboard,
            )
            self._screen.piece(AI)
            for piece in answering:
                self._screen.piece(piece)
        if answering.text or not answering.stopped:
            self.talk = asked.add("assistant", answering.text, stopped=answering.stopped)
            self._withdrawn = None
        self._tell(answering)

    def _tell(self, answering: Answering) -> None:
        """How an answer ended, and its numbers."""
        screen = self._screen
        screen.piece(f" {STOPPED}\n" if answering.stopped else "\n")
        if answering.fault is not None:
            screen.error(answering.fault.message)
        elif answering.stopped and not answering.text:
            screen.note(
                "답이 시작되기 전이라 질문도 기록에 남기지 않았습니다. /다시로 다시 묻습니다."
            )
            return
        if answering.completion_tokens:
            screen.note(f"[{answering.numbers(self._backend.model.context_length)}]")
        if answering.finish_reason == "length":
            screen.note("길이 제한에서 잘렸습니다. /설정 길이 512 처럼 늘릴 수 있습니다.")
        if answering.dropped:
            screen.note(
                f"문맥에 다 들어가지 않아 오래된 문답 {answering.dropped}개를 빼고 물었습니다."
            )

    def _help(self, argument: str) -> None:
        self._screen.rows(commands.help_rows())

    def _system(self, argument: str) -> None:
        if argument:
            self.talk = replace(self.talk, system="" if argument in _NONE else argument)
        self._screen.say(f"지시문: {self.talk.system or '없음'}")

    def _history(self, argument: str) -> None:
        if self.talk.system:
            self._screen.say(f"지시문: {self.talk.system}")
        for entry in self.talk.entries:
            mark = f" {STOPPED}" if entry.stopped else ""
            text = entry.text.replace("\n", "\n    ")
            self._screen.say(f"{'나> ' if entry.role == 'user' else AI}{text}{mark}")
        if not self.talk.entries:
            self._screen.say("아직 나눈 말이 없습니다.")

    def _undo(self, argument: str) -> None:
        question = self.talk.question
        if question is None:
            raise BadRequest("", "되돌릴 질문이 없습니다.")
        self.talk = self.talk.without_last()
        self._screen.say(f"지웠습니다: {question}")

    def _retry(self, argument: str) -> None:
        if self._withdrawn is not None:
            self._ask(self.talk, self._withdrawn)
            return
        question = self.talk.question
        if question is None:
            raise BadRequest("", "아직 질문이 없습니다.")
        self._ask(self.talk.without_last(), question)

    def _set(self, argument: str) -> None:
        name, _, value = argument.replace("=", " ", 1).partition(" ")
        if name and not value.strip():
            raise BadRequest("", f"/설정 {name} 값 꼴로 써 주세요. 되돌리려면 /설정 {name} 기본")
        if name:
            self._settings = self._settings.changed(name, value.strip())
        said, defaults = self._settings.said(), self._backend.model.defaults
        self._screen.rows(
            (f"{korean} ({field})", str(said.get(field, settings.shown(field, defaults))))
            for field, korean in settings.KOREAN.items()
        )

    def _adapter(self, argument: str) -> None:
        if argument:
            self._choose(argument)
        names = ", ".join(self._backend.model.adapters) or "없음"
        self._screen.say(f"지금 어댑터: {self._adapter_name()} (있는 것: {names})")

    def _choose(self, name: str) -> None:
        known = self._backend.model.adapters
        if name in _NONE:
            self.adapter = NO_ADAPTER
        elif name in _DEFAULT and name not in known:
            self.adapter = None
        elif name in known:
            self.adapter = name
        else:
            told = ", ".join(known) or "없음"
            raise BadRequest("", f"{name!r} 어댑터는 없습니다. 있는 어댑터: {told}")

    def _adapter_name(self) -> str:
        """What the next question will be answered with."""
        used = self.adapter if self.adapter is not None else self._backend.model.default_adapter
        return "없음" if used in (None, NO_ADAPTER) else str(used)

    def _compare(self, argument: str) -> None:
        question = argument or self._withdrawn or self.talk.question
        if question is None:
            raise BadRequest("", "무엇을 물을지 써 주세요: /비교 질문")
        adapter = adapter_to_compare(self._backend.model, self.adapter)
        before = self.talk if argument or self._withdrawn else self.talk.without_last()
        asked = before.add("user", question).conversation
        compare(self._backend, self._screen, asked, self._settings, adapter=adapter)

    def _save(self, argument: str) -> None:
        path = files.path_of(argument)
        if not self.talk.entries:
            raise BadRequest("", "아직 나눈 말이 없어 저장하지 않았습니다.")
        if path.exists() and path != self._own_file:
            raise BadRequest("", f"{path} 파일이 이미 있습니다. 다른 이름을 주세요.")
        files.save(self.talk, path)
        self._own_file = path
        self._screen.say(f"저장했습니다: {path}")

    def _load(self, argument: str) -> None:
        if not argument:
            raise BadRequest("", "파일을 주세요: /불러오기 파일")
        path = files.path_of(argument)
        self.talk, self._withdrawn = files.load(path), None
        self._own_file = path
        self._screen.say(f"불러왔습니다: {path} (말 {len(self.talk.entries)}마디)")

    def _quit(self, argument: str) -> None:
        self.over = True
