"""Stand-ins for the programs `ngrok` and `cloudflared`, at the edge of the network.

Each is a script that behaves as `FAKE_AGENT` says and writes what it was given to `FAKE_SEEN`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_HEAD = f"""#!{sys.executable}
import json, os, sys, time
how = os.environ.get("FAKE_AGENT", "")
"""

_SEEN = """
seen = {"argv": sys.argv, "pid": os.getpid(), "env": os.environ.get("NGROK_AUTHTOKEN")}
if "--config" in sys.argv:
    path = sys.argv[sys.argv.index("--config") + 1]
    seen["config"], seen["mode"] = open(path).read(), os.stat(path).st_mode & 0o777
    seen["path"] = path
with open(os.environ["FAKE_SEEN"] + ".new", "w") as file:
    json.dump(seen, file)
os.rename(os.environ["FAKE_SEEN"] + ".new", os.environ["FAKE_SEEN"])
"""

# Speaks what pyngrok 9.1 reads of ngrok 3: log lines, then /api/endpoints; forwards to `upstream`.
_NGROK = """
import threading, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def log(level, words):
    print("t=2026-01-01T00:00:00+0000 lvl=" + level, words, flush=True)

if how == "hangs":
    time.sleep(600)
if how == "exits":
    sys.exit(7)
if how.startswith("ERR_") and how != "ERR_NGROK_334":
    log("eror", 'msg="session closing" obj=tunnels.session err="authentication failed: '
        + "Your authtoken: t0ken-of-ngrok " + how + '"')
    log("crit", 'msg="command failed" err="authentication failed: t0ken-of-ngrok ' + how + '"')
    sys.exit(1)

class Public(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            answer = urllib.request.urlopen(
                urllib.request.Request(upstream + self.path, body, dict(self.headers)))
        except urllib.error.HTTPError as error:
            answer = error
        self.send_response(answer.status)
        self.end_headers()
        self.wfile.write(answer.read())
    def log_message(self, *words):
        pass

class Api(BaseHTTPRequestHandler):
    def say(self, status, told):
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.say(200, {"endpoints": []})
    def do_POST(self):
        global upstream
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        upstream = asked["upstream"]["url"]
        if how == "ERR_NGROK_334":
            return self.say(502, {"error_code": 103, "msg": "failed to start tunnel", "details": {
                "err": "The endpoint is already online. ERR_NGROK_334"}})
        self.say(201, {"name": asked["name"], "uri": "/api/endpoints/x", "proto": "http",
            "public_url": "http://127.0.0.1:%d" % public.server_port, "config": {}})
        if how == "leaves":
            threading.Timer(0.3, os._exit, [3]).start()
    def log_message(self, *words):
        pass

public = ThreadingHTTPServer(("127.0.0.1", 0), Public)
api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
for server in (public, api):
    threading.Thread(target=server.serve_forever, daemon=True).start()
log("info", 'msg="starting web service" obj=web addr=127.0.0.1:%d allow_hosts=[]' % api.server_port)
if how == "no network":
    while True:
        log("eror", 'msg="failed to reconnect session" obj=tunnels.session '
            'err="dial tcp: lookup connect.ngrok-agent.com: no such host"')
        time.sleep(0.2)
log("info", 'msg="client session established" obj=tunnels.session')
log("info", 'msg="tunnel session started" obj=tunnels.session')
time.sleep(600)
"""

# The log lines of cloudflared 2025.
_CLOUDFLARED = """
def log(level, words):
    print("2026-01-01T00:00:00Z", level, words, file=sys.stderr, flush=True)

if how == "exits":
    sys.exit(7)
log("INF", "Thank you for trying Cloudflare Tunnel. ... (https://www.cloudflare.com/website-terms/)")
log("INF", "Requesting new quick Tunnel on trycloudflare.com...")
if how == "hangs":
    time.sleep(600)
if how == "no network":
    log("ERR", 'failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": '
        "dial tcp: lookup api.trycloudflare.com: no such host")
    sys.exit(1)
if how == "too many":
    log("ERR", 'Error unmarshaling QuickTunnel response: error code: 1015 '
        'error="invalid character" status_code="429 Too Many Requests"')
    sys.exit(1)
log("INF", "|  https://four-words-of-it.trycloudflare.com                        |")
if how == "blocked":
    while True:
        log("ERR", 'Failed to dial a quic connection error="timeout: no recent network activity"')
        time.sleep(0.2)
log("INF", "Registered tunnel connection connIndex=0 ip=198.51.100.1 location=icn01 protocol=quic")
if how == "leaves":
    time.sleep(0.3)
    sys.exit(3)
for _ in range(3000):
    log("INF", "x" * 100)
time.sleep(600)
"""


@dataclass(frozen=True, slots=True)
class FakeAgents:
    """A folder with the two programs, and the environment in which they are found."""

    folder: Path

    @classmethod
    def in_folder(cls, folder: Path) -> FakeAgents:
        for name, source in (("ngrok", _NGROK), ("cloudflared", _CLOUDFLARED)):
            program = folder / name
            program.write_text(_HEAD + _SEEN + source, encoding="utf-8")
            program.chmod(0o755)
        return cls(folder)

    def environ(self, how: str = "") -> dict[str, str]:
        """Also without the token and the config file of whoever runs the tests."""
        return {
            "PATH": f"{self.folder}:/usr/bin:/bin",
            "PYNGROK_NGROK_PATH": str(self.folder / "ngrok"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "HOME": str(self.folder),
            "NGROK_AUTHTOKEN": "",
            "FAKE_AGENT": how,
            "FAKE_SEEN": str(self.folder / "seen.json"),
        }

    @property
    def seen(self) -> dict[str, Any]:
        """What the agent that ran last was given."""
        text = (self.folder / "seen.json").read_text(encoding="utf-8")
        told: dict[str, Any] = json.loads(text)
        return told

    @property
    def running(self) -> bool:
        """Whether it still runs; a dead one that nobody has asked about yet does not."""
        try:
            return psutil.Process(self.seen["pid"]).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
