// Unity(2021 이상): 말하는 캐릭터. 빈 게임 오브젝트에 붙이고 Ask("안녕?", text => …)를 부르세요.
// http 주소를 쓰려면 Player Settings의 "Allow downloads over HTTP"를 켜야 합니다.
using System;
using System.Collections;
using System.Collections.Generic;
using System.Text;
using UnityEngine;
using UnityEngine.Networking;

public class LightKorTalk : MonoBehaviour
{
    [Serializable] public class Turn { public string type; public string str; }
    [Serializable] public class History { public int count; public List<Turn> history = new List<Turn>(); }
    [Serializable] public class Instruction { public string command; }
    [Serializable] public class Body { public Instruction instruction; public string input; public History history; }
    [Serializable] public class Answer { public string result; public History history; }
    [Serializable] public class Fault { public string message; }
    [Serializable] public class Refusal { public Fault error; }

    public string server = "http://127.0.0.1:5989";
    public string key = "";
    [TextArea] public string character = "너는 숲속 마을의 대장장이야. 짧게 반말로 답해.";

    History history = new History();

    public void Ask(string question, Action<string> onAnswer)
    {
        StartCoroutine(Post(question, onAnswer));
    }

    IEnumerator Post(string question, Action<string> onAnswer)
    {
        var body = new Body
        {
            instruction = new Instruction { command = character },
            input = question,
            history = history,
        };
        using var request = new UnityWebRequest(server + "/chatweb", UnityWebRequest.kHttpVerbPOST);
        request.uploadHandler = new UploadHandlerRaw(Encoding.UTF8.GetBytes(JsonUtility.ToJson(body)));
        request.downloadHandler = new DownloadHandlerBuffer();
        request.SetRequestHeader("Content-Type", "application/json");
        if (key != "") request.SetRequestHeader("Authorization", "Bearer " + key);
        request.timeout = 120;
        yield return request.SendWebRequest();

        string text = request.downloadHandler.text;
        if (request.result != UnityWebRequest.Result.Success)
        {
            var refusal = text.StartsWith("{") ? JsonUtility.FromJson<Refusal>(text) : null;
            Debug.LogWarning(refusal?.error?.message ?? request.error);
            yield break;
        }
        var answer = JsonUtility.FromJson<Answer>(text);
        history = answer.history; // 서버는 기억하지 않으므로 우리가 들고 있습니다
        onAnswer(answer.result);
    }
}
