"""The chat page in a real browser: headless Chromium, driven as a person would use it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from client import call, received, send_raw
from lightkorllm.engines.echo import EchoEngine, Pause, Step, endless, saying
from lightkorllm.errors import EngineFailed
from lightkorllm.generation import GenerationRequest
from lightkorllm.server import page
from live import LiveServer, Serve

AXE = Path(__file__).parents[2] / ".venv" / "node" / "node_modules" / "axe-core" / "axe.min.js"

pytestmark = pytest.mark.skipif(
    not shutil.which("chromium") or not shutil.which("chromedriver"),
    reason="needs chromium and chromedriver: `make test` installs Debian's packages where it can",
)


class Browser:
    """One Chromium and the page in it."""

    def __init__(self, folder: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={folder}",
            "--window-size=1280,860",
            "--lang=ko",
        ):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver") or "")
        self.driver = webdriver.Chrome(options=options, service=service)

    def open(self, live: LiveServer) -> Browser:
        self.driver.get(f"http://127.0.0.1:{live.port}/")
        self.until(lambda: self.all("#log li"))
        return self

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [node.text for node in self.all(selector)]

    def until(self, condition: Callable[[], Any], within: float = 10) -> Any:
        end = time.monotonic() + within
        while not (found := condition()):
            assert time.monotonic() < end, self.one("body").text
            time.sleep(0.02)
        return found

    def ask(self, text: str) -> None:
        self.one("#input").send_keys(text + Keys.ENTER)

    def answers(self) -> list[str]:
        """The finished answers."""
        return [
            row.find_element(By.CSS_SELECTOR, ".bubble").text
            for row in self.all("#log .theirs")
            if row.find_elements(By.CSS_SELECTOR, ".tools button")
        ]

    def press(self, label: str) -> None:
        next(
            node for node in self.all("button") if node.is_displayed() and node.text == label
        ).click()

    def compose(self, text: str) -> None:
        """A syllable that the input method has not handed over yet."""
        self.driver.execute_cdp_cmd(
            "Input.imeSetComposition",
            {"text": text, "selectionStart": len(text), "selectionEnd": len(text)},
        )

    def key(self, kind: str, code: int) -> None:
        self.driver.execute_cdp_cmd(
            "Input.dispatchKeyEvent",
            {
                "type": kind,
                "key": "Process" if code == 229 else "Enter",
                "code": "Enter",
                "windowsVirtualKeyCode": code,
                "nativeVirtualKeyCode": code,
            },
        )

    def complaints(self) -> list[str]:
        """What the browser's console has to say, but for answers that are errors on purpose."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [line["message"] for line in log if "Failed to load resource" not in line["message"]]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    yield chromium
    assert chromium.complaints() == []


def _counting(*steps: Step) -> tuple[EchoEngine, list[str]]:
    asked: list[str] = []

    def script(request: GenerationRequest) -> tuple[Step, ...]:
        asked.append(request.prompt.split("### 사용자:\n")[-1].split("\n\n### AI")[0])
        return steps

    return EchoEngine(script), asked


def test_an_answer_streams_in_and_shows_what_it_cost(serve: Serve, browser: Browser) -> None:
    browser.open(serve(saying("안녕", Pause(1), "하세요")))
    browser.ask("안녕?")
    browser.until(
        lambda: (
            browser.texts("#log .theirs .bubble") == ["안녕…"]
            or browser.texts("#log .theirs .bubble") == ["안녕"]
        )
    )
    assert browser.one("#stop").is_displayed()
    browser.until(lambda: browser.answers() == ["안녕하세요"])
    assert "2토큰" in browser.one("#log .theirs .tools").text
    assert not browser.one("#stop").is_displayed()


@pytest.mark.case("K07")
def test_one_enter_while_composing_sends_once_and_whole(serve: Serve, browser: Browser) -> None:
    engine, asked = _counting("네")
    browser.open(serve(engine=engine))
    browser.one("#input").click()
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": "안녕하세"})
    browser.compose("요")
    browser.key("rawKeyDown", 229)
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": "요"})  # the composition ends
    browser.key("keyUp", 13)
    browser.until(browser.answers)
    time.sleep(0.3)
    assert asked == ["안녕하세요"]
    assert browser.one("#input").get_property("value") == ""


@pytest.mark.case("K07")
def test_an_input_method_that_hands_enter_on_sends_once_too(serve: Serve, browser: Browser) -> None:
    engine, asked = _counting("네")
    browser.open(serve(engine=engine))
    browser.one("#input").click()
    browser.compose("한글")
    browser.key("rawKeyDown", 229)
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": "한글"})
    browser.key("rawKeyDown", 13)
    browser.key("keyUp", 13)
    browser.until(browser.answers)
    time.sleep(0.3)
    assert asked == ["한글"]
    assert browser.one("#input").get_property("value") == ""


def test_shift_enter_is_a_new_line(serve: Serve, browser: Browser) -> None:
    engine, asked = _counting("네")
    browser.open(serve(engine=engine))
    browser.one("#input").send_keys(
        "첫 줄", Keys.SHIFT + Keys.ENTER + Keys.NULL, "둘째 줄", Keys.ENTER
    )
    browser.until(browser.answers)
    assert asked == ["첫 줄\n둘째 줄"]


@pytest.mark.case("S06")
def test_the_stop_button_truly_stops_and_keeps_what_was_said(
    serve: Serve, browser: Browser
) -> None:
    live = serve(engine=EchoEngine(endless("그 "), delay=0.02), max_new_token=4000)
    browser.open(live)
    browser.ask("끝없이 말해 줘")
    browser.until(lambda: "그 그" in "".join(browser.texts("#log .theirs .bubble")))
    browser.one("#stop").click()
    assert live.idle(within=1)
    browser.until(browser.answers)
    assert "멈춤" in browser.one("#log .theirs .tools").text


HOSTILE = (
    "<img src=x onerror=alert(1)> <script>alert(2)</script> "
    "<details open ontoggle=alert(3)>숨김</details> "
    "[눌러](javascript:alert(4)) [여기](https://example.com) `<b>` **<i>굵게</i>**"
)


@pytest.mark.case("S45")
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_looks_like_html_is_shown_as_text(serve: Serve, browser: Browser, size: int) -> None:
    pieces = [HOSTILE[at : at + size] for at in range(0, len(HOSTILE), size)]
    browser.open(serve(saying(*pieces)))
    browser.ask("<b>나</b>")
    browser.until(browser.answers)
    (answer,) = browser.answers()
    for shown in (
        "<img src=x",
        "<script>",
        "<details open",
        "[눌러](javascript:alert(4))",
        "<i>굵게",
    ):
        assert shown in answer
    assert browser.texts("#log .mine .bubble") == ["<b>나</b>"]
    assert not browser.all("#log img, #log script, #log details, #log b, #log i")
    links = [node.get_attribute("href") for node in browser.all("#log a")]
    assert links == ["https://example.com/"]


MARKDOWN = """## 제목

첫 줄 **굵은 글** 그리고 *기운 글*
둘째 줄

- 하나
- 둘 `코드`

1. 첫째
2. 둘째

```python
def 인사(이름):
    return f"안녕, {이름}!"
```

> 따온 말"""


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_markdown_is_drawn_the_same_however_it_arrives(
    serve: Serve, browser: Browser, size: int
) -> None:
    pieces = [MARKDOWN[at : at + size] for at in range(0, len(MARKDOWN), size)]
    browser.open(serve(saying(*pieces)))
    browser.ask("보여 줘")
    browser.until(browser.answers)
    assert browser.texts("#log h3") == ["제목"]
    assert browser.texts("#log .bubble strong") == ["굵은 글"]
    assert browser.texts("#log .bubble li") == ["하나", "둘 코드", "첫째", "둘째"]
    code = browser.one("#log pre code").get_property("textContent")
    assert code == 'def 인사(이름):\n    return f"안녕, {이름}!"\n'
    assert browser.texts("#log blockquote") == ["따온 말"]
    assert len(browser.all("#log .theirs .bubble > *")) == 6


def test_regenerate_edit_and_reload(serve: Serve, browser: Browser) -> None:
    engine, asked = _counting("네")
    browser.open(serve(engine=engine))
    browser.ask("하나")
    browser.until(browser.answers)
    browser.press("다시 답하기")
    browser.until(lambda: len(asked) == 2 and browser.answers())
    browser.press("고치기")
    browser.one("#input").send_keys(" 더", Keys.ENTER)
    browser.until(lambda: len(asked) == 3 and browser.answers())
    assert asked == ["하나", "하나", "하나 더"]
    browser.driver.refresh()
    browser.until(browser.answers)
    assert browser.texts("#log .mine .bubble") == ["하나 더"]
    browser.press("새 대화")
    browser.ask("둘")
    browser.until(browser.answers)
    assert [text for text in browser.texts("#talks .open")][:2] == ["둘", "하나 더"]


def test_export_and_import_give_the_same_conversations(
    serve: Serve, browser: Browser, tmp_path: Path
) -> None:
    browser.open(serve(saying("네")))
    talk = {
        "id": "x",
        "system": "친절하게",
        "history": [
            {"type": "### 사용자", "str": "가져온 질문"},
            {"type": "### AI", "str": "가져온 답"},
        ],
    }
    file = tmp_path / "대화.json"
    file.write_text(json.dumps({"talks": [talk]}), encoding="utf-8")
    browser.one("#file").send_keys(str(file))
    browser.until(lambda: browser.answers() == ["가져온 답"])
    exported = browser.driver.execute_async_script(
        "const done = arguments[0]; import('/page/store.js').then((store) =>"
        " done(store.importTalks(store.exportTalks(store.loadTalks()))));"
    )
    assert exported[-1]["history"] == talk["history"]
    assert exported[-1]["system"] == "친절하게"
    file.write_text("[1, 2]", encoding="utf-8")
    browser.one("#file").send_keys(str(file))
    alert = browser.until(lambda: _alert(browser))
    assert "대화 파일이 아닙니다" in alert


def _alert(browser: Browser) -> str | None:
    from selenium.common.exceptions import NoAlertPresentException

    try:
        alert = browser.driver.switch_to.alert
    except NoAlertPresentException:
        return None
    text = str(alert.text)
    alert.accept()
    return text


def test_the_instruction_and_settings_are_sent(serve: Serve, browser: Browser) -> None:
    engine = EchoEngine(endless("가"))
    browser.open(serve(engine=engine))
    browser.press("설정")
    browser.one("#system").send_keys("반말로 답해.")
    browser.one("#max_new_token").send_keys("3", Keys.TAB)
    browser.press("설정")
    browser.ask("안녕")
    browser.until(lambda: browser.answers() == ["가가가"])
    assert engine.prompts[-1].startswith("반말로 답해.\n\n")
    assert "길이 제한에서 잘림" in browser.one("#log .theirs .tools").text
    browser.driver.execute_script("localStorage.clear()")


def test_errors_can_be_acted_on(serve: Serve, browser: Browser) -> None:
    scripts: list[list[Step]] = [
        [EngineFailed("그래픽 카드 고장")],
        ["하나", EngineFailed("끊김")],
        ["네"],
    ]
    browser.open(serve(engine=EchoEngine(lambda request: scripts.pop(0))))
    browser.ask("안녕")
    browser.until(lambda: "그래픽 카드 고장" in "".join(browser.texts("[role=alert]")))
    browser.press("다시 시도")
    browser.until(lambda: "끊김" in "".join(browser.texts("[role=alert]")))
    browser.press("다시 시도")
    browser.until(lambda: browser.answers() == ["네"])
    assert not browser.all("[role=alert]")
    assert browser.texts("#log .mine .bubble") == ["안녕"]


def test_a_missing_key_can_be_given(serve: Serve, browser: Browser) -> None:
    browser.open(serve(saying("네"), api_key=("비밀-열쇠",)))
    browser.ask("안녕")
    browser.until(lambda: browser.all("[role=alert]"))
    browser.press("키 넣기")
    browser.driver.execute_script("document.querySelector('#key').value = ''")
    browser.one("#key").send_keys("second", Keys.TAB)
    assert browser.one("#key").get_attribute("type") == "password"
    browser.driver.execute_script("localStorage.clear()")


@pytest.mark.case("S42")
def test_a_tunnels_warning_page_is_explained(serve: Serve, browser: Browser) -> None:
    browser.open(serve(saying("네")))
    browser.driver.execute_script(
        "window.sent = null; window.fetch = async (_, options) => { window.sent = options.headers;"
        " return new Response('<html>', {headers: {'content-type': 'text/html'}}); }"
    )
    browser.ask("안녕")
    browser.until(lambda: "터널" in "".join(browser.texts("[role=alert]")))
    assert browser.driver.execute_script("return window.sent['ngrok-skip-browser-warning']")


def test_everything_is_small_and_comes_from_here(serve: Serve, browser: Browser) -> None:
    live = serve(saying("네"))
    total = sum(
        len(call(live.port, "/" if name == "index.html" else f"/page/{name}").body)
        for name in page.FILES
    )
    assert total < 150_000
    browser.driver.get_log("performance")  # type: ignore[no-untyped-call]
    browser.open(live)
    browser.ask("안녕")
    browser.until(browser.answers)
    log = browser.driver.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(line["message"])["message"] for line in log]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    urls = [params["request"]["url"] for params in sent]
    assert len(urls) >= len(page.FILES)
    here = (f"http://127.0.0.1:{live.port}/", "data:", "blob:", "chrome")
    assert [url for url in urls if not url.startswith(here)] == []


def test_headers_let_nothing_else_in(serve: Serve) -> None:
    port = serve(saying("네"), api_key=("k",)).port
    answer = call(port, "/")
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = call(port, "/", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status == 304
    for path in ("/page/", "/page/../app.py", "/page/%2e%2e/app.py", "/page/x.js"):
        assert call(port, path).status in (401, 404)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_there_is_nothing_serious_in_anybodys_way(
    serve: Serve, browser: Browser, theme: str, width: int
) -> None:
    if not AXE.is_file():
        pytest.skip("needs axe-core: `make test` installs it where npm is")
    browser.driver.set_window_size(width, 860)
    table = "\n\n| 가 | 나 |\n|---|---|\n| 1 | 2 |"
    scripts: list[list[Step]] = [[MARKDOWN + table], [EngineFailed("고장")]]
    browser.open(serve(engine=EchoEngine(lambda request: scripts.pop(0))))
    browser.driver.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
    browser.ask("보여 줘")
    browser.until(browser.answers)
    browser.ask("하나 더")
    browser.until(lambda: browser.all("[role=alert]"))
    browser.press("설정")
    browser.driver.execute_script(AXE.read_text(encoding="utf-8"))
    found = browser.driver.execute_async_script("axe.run().then(arguments[0])")
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    browser.driver.set_window_size(1280, 860)
    assert serious == []


def _mine(browser: Browser) -> list[str]:
    return browser.texts("#log .mine .bubble")


def _stored(browser: Browser) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = browser.driver.execute_script(
        "return JSON.parse(localStorage.getItem('lightkorllm.talks') ?? '[]')"
    )
    return found


def test_an_answer_that_is_being_made_cannot_be_cut_from_under(
    serve: Serve, browser: Browser
) -> None:
    scripts: list[list[Step]] = [["하나"], ["둘", Pause(1.5), "셋"]]
    browser.open(serve(engine=EchoEngine(lambda request: scripts.pop(0))))
    browser.ask("첫째")
    browser.until(browser.answers)
    browser.ask("둘째")
    browser.until(lambda: browser.one("#stop").is_displayed())
    shown = [node.text for node in browser.all("#log .tools button") if node.is_displayed()]
    assert shown == []  # no 고치기, no 다시 답하기 until it has ended
    browser.until(lambda: browser.answers() == ["하나", "둘셋"])
    assert [entry["str"] for entry in _stored(browser)[0]["history"]] == [
        *("첫째", "하나", "둘째", "둘셋")
    ]


def test_leaving_a_new_conversation_keeps_what_was_said(serve: Serve, browser: Browser) -> None:
    live = serve(saying("앞부분", Pause(20), "뒷부분"))
    browser.open(live)
    browser.press("새 대화")
    browser.ask("떠나는 질문")
    browser.until(lambda: "앞부분" in "".join(browser.texts("#log .theirs .bubble")))
    browser.press("새 대화")
    assert live.idle(within=2)
    browser.until(lambda: "떠나는 질문" in browser.texts("#talks .open"))
    browser.press("떠나는 질문")
    assert browser.answers() == ["앞부분"]
    assert "멈춤" in browser.one("#log .theirs .tools").text


def test_a_forgotten_conversation_stays_away_though_it_was_answering(
    serve: Serve, browser: Browser
) -> None:
    live = serve(engine=EchoEngine(endless("그 "), delay=0.02), max_new_token=4000)
    browser.open(live)
    browser.press("새 대화")
    browser.ask("지울 질문")
    browser.until(lambda: "그 그" in "".join(browser.texts("#log .theirs .bubble")))
    browser.one("#stop").click()
    browser.until(browser.answers)
    browser.ask("한 번 더")
    browser.until(lambda: browser.one("#stop").is_displayed())
    browser.one("#talks button[aria-label='지우기: 지울 질문']").click()
    browser.until(lambda: _alert(browser))
    assert live.idle(within=2)
    time.sleep(0.2)
    assert "지울 질문" not in browser.texts("#talks .open")
    assert all(talk["history"][0]["str"] != "지울 질문" for talk in _stored(browser))


@pytest.mark.case("K07")
def test_an_enter_that_only_chose_a_candidate_does_not_send_later(
    serve: Serve, browser: Browser
) -> None:
    engine, asked = _counting("네")
    browser.open(serve(engine=engine))
    browser.one("#input").click()
    browser.compose("한")
    browser.key("rawKeyDown", 229)  # chooses, the composition goes on
    browser.key("keyUp", 13)
    time.sleep(0.1)
    browser.compose("한자")
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": "한자"})
    time.sleep(0.3)
    assert asked == []
    browser.one("#input").send_keys(Keys.ENTER)
    browser.until(browser.answers)
    assert asked == ["한자"]


@pytest.mark.case("K07")
def test_safaris_enter_after_the_composition_sends_once(serve: Serve, browser: Browser) -> None:
    engine, asked = _counting("네")
    browser.open(serve(engine=engine))
    browser.one("#input").click()
    browser.compose("요")
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": "요"})
    browser.key("rawKeyDown", 229)  # Safari: compositionend comes before its keydown
    browser.key("keyUp", 13)
    browser.until(browser.answers)
    browser.one("#input").click()
    browser.compose("가")
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": "가"})
    time.sleep(0.3)
    assert asked == ["요"]
    assert browser.one("#input").get_property("value") == "가"


def test_a_stopped_answer_stays_also_where_the_server_names_the_sides_otherwise(
    serve: Serve, browser: Browser
) -> None:
    scripts: list[list[Step]] = [["하나"], ["둘", Pause(20)], ["셋"]]
    engine = EchoEngine(lambda request: scripts.pop(0))
    browser.open(serve(engine=engine, human_str="### 학생", ai_str="### 선생님"))
    browser.ask("첫째")
    browser.until(browser.answers)
    browser.ask("둘째")
    browser.until(lambda: any("둘" in text for text in browser.texts("#log .theirs .bubble")))
    browser.press("멈추기")
    browser.until(lambda: browser.answers() == ["하나", "둘"])
    browser.driver.refresh()
    browser.until(lambda: browser.answers() == ["하나", "둘"])
    browser.ask("셋째")
    browser.until(lambda: browser.answers() == ["하나", "둘", "셋"])


def test_the_current_conversation_can_be_pressed_while_it_answers(
    serve: Serve, browser: Browser
) -> None:
    scripts: list[list[Step]] = [["하나"], ["둘", Pause(1), "셋"]]
    browser.open(serve(engine=EchoEngine(lambda request: scripts.pop(0))))
    browser.ask("눌러 볼 질문")
    browser.until(browser.answers)
    browser.ask("다음")
    browser.until(lambda: browser.one("#stop").is_displayed())
    browser.press("눌러 볼 질문")
    browser.until(lambda: browser.answers() == ["하나", "둘셋"])


def test_one_broken_stored_conversation_takes_no_other_with_it(
    serve: Serve, browser: Browser
) -> None:
    browser.open(serve(saying("네")))
    browser.ask("남을 질문")
    browser.until(browser.answers)
    browser.driver.execute_script(
        "const talks = JSON.parse(localStorage.getItem('lightkorllm.talks'));"
        "localStorage.setItem('lightkorllm.talks', JSON.stringify([null, {history: 3}, ...talks]))"
    )
    browser.driver.refresh()
    browser.until(browser.answers)
    assert _mine(browser) == ["남을 질문"]


def test_two_tabs_keep_each_others_conversations(serve: Serve, browser: Browser) -> None:
    browser.open(serve(saying("네")))
    first = browser.driver.current_window_handle
    url = browser.driver.current_url
    browser.driver.switch_to.new_window("tab")
    browser.driver.get(url)
    browser.until(lambda: browser.all("#log li"))
    browser.ask("둘째 탭")
    browser.until(browser.answers)
    browser.driver.close()
    browser.driver.switch_to.window(first)
    browser.ask("첫째 탭")
    browser.until(browser.answers)
    browser.driver.refresh()
    browser.until(browser.answers)
    assert {"첫째 탭", "둘째 탭"} <= set(browser.texts("#talks .open"))


def test_a_file_whose_turns_do_not_alternate_is_refused(
    serve: Serve, browser: Browser, tmp_path: Path
) -> None:
    browser.open(serve(saying("네")))
    file = tmp_path / "홀수.json"
    history = [{"type": "### 사용자", "str": "답이 없는 질문"}]
    file.write_text(json.dumps({"talks": [{"history": history}]}), encoding="utf-8")
    browser.one("#file").send_keys(str(file))
    assert "번갈아" in browser.until(lambda: _alert(browser))
    assert "답이 없는 질문" not in browser.texts("#talks .open")


def test_an_exported_file_comes_back_with_all_its_conversations(
    serve: Serve, browser: Browser, tmp_path: Path
) -> None:
    browser.open(serve(saying("네, 그렇습니다.")))
    browser.ask("내보낼 질문")
    browser.until(browser.answers)
    browser.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    browser.press("내보내기")
    file = browser.until(lambda: next(tmp_path.glob("*.json"), None))
    browser.driver.execute_script("localStorage.clear()")
    browser.driver.refresh()
    browser.until(lambda: browser.all("#log .empty"))
    browser.one("#file").send_keys(str(file))
    browser.until(lambda: browser.answers() == ["네, 그렇습니다."])
    assert _mine(browser) == ["내보낼 질문"]


def test_a_full_server_says_when_to_come_back(serve: Serve, browser: Browser) -> None:
    live = serve(saying("하나", Pause(1.5), "둘"), slots=1, queue=0)
    browser.open(live)
    with send_raw(live.port, "/chatweb", {"input": "먼저", "stream": True}) as earlier:
        assert next(received(earlier))
        browser.ask("나중")
        told = browser.until(lambda: "".join(browser.texts("[role=alert]")))
        assert "초 뒤에 다시" in told
    assert live.idle()
    browser.press("다시 시도")
    browser.until(lambda: browser.answers() == ["하나둘"])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("new Response('<html>', {status: 502, headers: {'content-type': 'text/html'}})", "502"),
        ("new Response('', {status: 503, headers: {'retry-after': '7'}})", "7초"),
        ("new Response('data: 깨진\\n\\n')", "읽을 수 없는"),
        ("new Response(': 말 없음\\n\\n')", "중간에 끊겼습니다"),
        (
            "new Response(new ReadableStream({start(c) { c.error(new TypeError('network')); }}))",
            "중간에 끊겼습니다",
        ),
    ],
)
def test_whatever_comes_back_is_told_in_korean(
    serve: Serve, browser: Browser, answer: str, told: str
) -> None:
    browser.open(serve(saying("네")))
    browser.driver.execute_script(f"window.fetch = async () => {answer}")
    browser.ask("안녕")
    assert told in browser.until(lambda: "".join(browser.texts("[role=alert] p")))


def test_a_question_that_failed_can_be_mended(serve: Serve, browser: Browser) -> None:
    scripts: list[list[Step]] = [[EngineFailed("고장")], ["네"]]
    browser.open(serve(engine=EchoEngine(lambda request: scripts.pop(0))))
    browser.ask("틀린 질문")
    browser.until(lambda: browser.all("[role=alert]"))
    browser.press("고치기")
    assert browser.one("#input").get_property("value") == "틀린 질문"
    assert not browser.all("[role=alert]")
    browser.one("#input").send_keys("!", Keys.ENTER)
    browser.until(lambda: browser.answers() == ["네"])
    assert _mine(browser) == ["틀린 질문!"]


def test_stopping_before_the_first_word_gives_the_question_back(
    serve: Serve, browser: Browser
) -> None:
    live = serve(saying(Pause(20), "늦은 말"))
    browser.open(live)
    browser.ask("성급한 질문")
    browser.until(lambda: not live.idle(within=0))
    browser.one("#stop").click()
    assert live.idle(within=2)
    browser.until(lambda: browser.one("#input").get_property("value") == "성급한 질문")
    assert _mine(browser) == []
    assert browser.all("#log .empty")
    focused = browser.driver.execute_script("return document.activeElement.id")
    assert focused == "input"


def test_the_key_is_asked_for_and_then_let_in(serve: Serve, browser: Browser) -> None:
    browser.open(serve(saying("네"), api_key=("right-key",)))
    browser.ask("안녕")
    browser.until(lambda: browser.all("[role=alert]"))
    browser.press("키 넣기")
    browser.one("#key").send_keys("한글 키", Keys.TAB)
    browser.press("다시 시도")
    browser.until(lambda: "영문" in "".join(browser.texts("[role=alert]")))
    browser.one("#key").clear()
    browser.one("#key").send_keys(" right-key ", Keys.TAB)
    browser.press("다시 시도")
    browser.until(lambda: browser.answers() == ["네"])
    browser.driver.execute_script("localStorage.clear()")


def test_an_adapter_can_be_chosen(serve: Serve, browser: Browser) -> None:
    asked: list[str | None] = []

    def script(request: GenerationRequest) -> tuple[Step, ...]:
        asked.append(request.adapter)
        return ("네",)

    browser.open(serve(engine=EchoEngine(script, adapters=("존댓말", "반말"))))
    browser.press("설정")
    browser.until(lambda: browser.one("#adapter").is_displayed())
    browser.one("#adapter").send_keys("반말", Keys.TAB)
    browser.ask("안녕")
    browser.until(browser.answers)
    browser.one("#adapter").send_keys("없이", Keys.TAB)
    browser.ask("또 안녕")
    browser.until(lambda: len(browser.answers()) == 2)
    assert asked == ["반말", None]
    browser.driver.execute_script("localStorage.clear()")


def test_without_adapters_there_is_no_choice(serve: Serve, browser: Browser) -> None:
    browser.open(serve(saying("네")))
    browser.press("설정")
    assert not browser.one("#adapter").is_displayed()


@pytest.mark.parametrize("secure", [True, False])
def test_code_and_answers_can_be_copied(serve: Serve, browser: Browser, secure: bool) -> None:
    browser.open(serve(saying(MARKDOWN)))
    browser.driver.execute_script(
        "window.copied = []; Object.defineProperty(navigator, 'clipboard', {value: "
        + ("{writeText: async (text) => void copied.push(text)}" if secure else "undefined")
        + "}); document.addEventListener('copy', () => copied.push(String(getSelection())"
        " || document.activeElement.value));"
    )
    browser.ask("보여 줘")
    browser.until(browser.answers)
    browser.one("#log .copy").click()
    browser.until(lambda: browser.one("#log .copy").text == "복사함")
    browser.one("#log .theirs .tools button").click()
    code, whole = browser.until(
        lambda: (got := browser.driver.execute_script("return copied")) and len(got) == 2 and got
    )
    assert code.startswith("def 인사(이름):\n    return")
    assert whole == MARKDOWN


def test_a_table_is_a_table(serve: Serve, browser: Browser) -> None:
    browser.open(
        serve(saying("| 도시 | 인구 |\n|---|--:|\n| 서울 | **9백만** |\n| `부산` |\n\n끝"))
    )
    browser.ask("표")
    browser.until(browser.answers)
    assert browser.texts("#log .bubble th") == ["도시", "인구"]
    assert browser.texts("#log .bubble td") == ["서울", "9백만", "부산"]
    assert browser.texts("#log .bubble p")[-1] == "끝"


def test_it_can_be_used_by_keyboard_alone(serve: Serve, browser: Browser) -> None:
    live = serve(engine=EchoEngine(endless("그 "), delay=0.02), max_new_token=4000)
    browser.open(live)
    focused = browser.driver.switch_to.active_element
    assert focused.get_attribute("id") == "input"  # ready to type
    focused.send_keys("안녕", Keys.ENTER)
    browser.until(lambda: "그 그" in "".join(browser.texts("#log .theirs .bubble")))
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert live.idle(within=2)
    browser.until(browser.answers)
    browser.one("#settings").send_keys(Keys.ENTER)
    browser.until(lambda: browser.one("#system").is_displayed())
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    browser.until(lambda: not browser.one("#system").is_displayed())
    assert browser.driver.switch_to.active_element.get_attribute("id") == "settings"


def test_a_screen_reader_hears_each_finished_answer_once(serve: Serve, browser: Browser) -> None:
    browser.open(serve(saying("안녕", Pause(0.5), "하세요")))
    browser.driver.execute_script(
        "window.heard = []; new MutationObserver(() =>"
        " heard.push(document.querySelector('#status').textContent))"
        ".observe(document.querySelector('#status'), {childList: true})"
    )
    browser.ask("안녕?")
    browser.until(lambda: browser.answers() == ["안녕하세요"])
    heard = browser.until(lambda: browser.driver.execute_script("return heard"))
    assert [text for text in heard if "안녕" in text] == ["답이 끝났습니다. 안녕하세요"]


def test_the_first_paint_comes_within_300_milliseconds(serve: Serve, browser: Browser) -> None:
    live = serve(saying("네"))
    paints = []
    for _ in range(3):  # the best of three: other work on the machine is not the page's
        browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        browser.open(live)
        paints.append(
            browser.until(
                lambda: browser.driver.execute_script(
                    "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
                )
            )
        )
    assert min(paints) < 300
