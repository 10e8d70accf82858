# Godot 4: 말하는 캐릭터. 노드에 붙이고 `var text = await ask("안녕?")`처럼 부르세요.
class_name LightKorTalk
extends Node

@export var server := "http://127.0.0.1:5989"
@export var key := ""
@export_multiline var character := "너는 숲속 마을의 대장장이야. 짧게 반말로 답해."

var history = null  # 서버는 기억하지 않으므로 우리가 들고 있습니다


# 답을 기다려 돌려줍니다. 안 되면 빈 글입니다.
func ask(question: String) -> String:
	var request := HTTPRequest.new()
	request.timeout = 120
	add_child(request)
	var headers: PackedStringArray = ["Content-Type: application/json"]
	if key != "":
		headers.append("Authorization: Bearer " + key)
	var body := {
		"instruction": {"command": character},
		"input": question,
		"history": history,
	}
	var started := request.request(
		server + "/chatweb", headers, HTTPClient.METHOD_POST, JSON.stringify(body)
	)
	if started != OK:
		push_warning("서버 주소가 올바르지 않습니다: " + server)
		request.queue_free()
		return ""
	var done: Array = await request.request_completed  # [결과, 상태, 헤더, 본문]
	request.queue_free()
	if done[0] != HTTPRequest.RESULT_SUCCESS:
		push_warning("서버에 연결할 수 없습니다: " + server)
		return ""
	var answer = JSON.parse_string(done[3].get_string_from_utf8())
	if done[1] != 200:
		push_warning(answer["error"]["message"])
		return ""
	history = answer["history"]
	return answer["result"]
