"""wechatpy, a library for WeChat's official accounts and mini programs, does what a task says (see outcome.py)."""

import http.server
import threading
import time
import uuid
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import requests
import xmltodict
from requests.adapters import HTTPAdapter
from wechatpy import WeChatClient, parse_message
from wechatpy.crypto import WeChatCrypto, WeChatWxaCrypto
from wechatpy.exceptions import InvalidSignatureException, WeChatClientException
from wechatpy.replies import TextReply
from wechatpy.utils import WeChatSigner, check_signature, check_wxa_signature

from outcome import equal, run


def pushes(kit, mall, openid, ticket):
    """Plays WeChat's server to the mall: asks for the echo, then pushes a scan and a text, in each mode."""
    url = f"{mall}/api/v1/weixin/portal/receive"
    stamped = Stamp(kit)
    echo = requests.get(url, params={**stamped.query(), "echostr": "1234567890"}, timeout=10)
    equal((echo.status_code, echo.text), (200, "1234567890"))
    forged = requests.get(url, params={**stamped.query(), "signature": "0" * 40, "echostr": "1234567890"}, timeout=10)
    equal(forged.status_code, 403)

    def message(kind, body):
        return (f"<xml><ToUserName><![CDATA[{kit['official_account_original_id']}]]></ToUserName>"
                f"<FromUserName><![CDATA[{openid}]]></FromUserName><CreateTime>{int(time.time())}</CreateTime>"
                f"<MsgType><![CDATA[{kind}]]></MsgType>{body}</xml>")

    def text(content):
        return message("text", f"<Content><![CDATA[{content}]]></Content><MsgId>{uuid.uuid4().int >> 65}</MsgId>")

    scan = message("event", f"<Event><![CDATA[SCAN]]></Event><EventKey><![CDATA[123]]></EventKey><Ticket><![CDATA[{ticket}]]></Ticket>")
    reply = push_encrypted(kit, url, openid, scan)
    equal((reply.type, reply.source, reply.target), ("text", kit["official_account_original_id"], openid))
    told = push_encrypted(kit, url, openid, text("在吗 & <好>"))
    equal((told.type, told.content), ("text", "你好，在吗 & <好>"))

    query = {**stamped.query(), "openid": openid}
    forged = push_sealed(kit, url, openid, text("在吗"), forged=True)
    equal((forged.status_code, "xml" in forged.text), (403, False))

    plain = requests.post(url, params=query, data=text("你好").encode(), headers=XML, timeout=10)
    equal(parse_message(plain.text).content, "你好，你好")
    forged = requests.post(url, params={**query, "signature": "0" * 40}, data=text("你好").encode(), headers=XML, timeout=10)
    equal((forged.status_code, "xml" in forged.text), (403, False))
    return {"scan_reply": reply.content}


def push_encrypted(kit, url, openid, message):
    """Pushes as in secure mode, and returns the decrypted answer."""
    answer = push_sealed(kit, url, openid, message)
    equal(answer.status_code, 200)
    envelope = parse_xml(answer.text)
    return parse_message(
        account_crypto(kit).decrypt_message(answer.text, envelope["MsgSignature"], envelope["TimeStamp"], envelope["Nonce"]))


def push_sealed(kit, url, openid, message, forged=False):
    stamp = Stamp(kit)
    sealed = parse_xml(account_crypto(kit).encrypt_message(message, stamp.nonce, stamp.timestamp))
    body = (f"<xml><ToUserName><![CDATA[{kit['official_account_original_id']}]]></ToUserName>"
            f"<Encrypt><![CDATA[{sealed['Encrypt']}]]></Encrypt></xml>")
    signature = "0" * 40 if forged else sealed["MsgSignature"]
    query = {**stamp.query(), "openid": openid, "encrypt_type": "aes", "msg_signature": signature}
    return requests.post(url, params=query, data=body.encode(), headers=XML, timeout=10)


def calls(kit, sandbox):
    official_account(kit, sandbox)
    mini_program(kit, sandbox)
    return {}


def official_account(kit, sandbox):
    control = Control(sandbox)
    person = control("GET", "/people/xiaoming")
    openid = person["official_account_openid"]
    client = client_of(sandbox, kit["official_account_appid"], kit["official_account_secret"])
    assert client.fetch_access_token()["expires_in"] > 0
    user = client.user.get(openid)
    equal((user["subscribe"], user["openid"], user.get("unionid")), (1, openid, person["unionid"]))
    sent = client.message.send_template(openid, kit["official_account_template_id"], {"user": {"value": "小明"}})
    equal(sent["errcode"], 0)

    code = client.qrcode.create(
        {"expire_seconds": 600, "action_name": "QR_STR_SCENE", "action_info": {"scene": {"scene_str": "login"}}})
    # The address of the image is a constant inside the library.
    with mock.patch("wechatpy.client.api.qrcode.requests.get", client._http.get):
        image = client.qrcode.show(code)
    equal((image.status_code, image.headers["Content-Type"].split("/")[0]), (200, "image"))

    # A token that somebody else's refresh has made invalid: the library must be told so by the code it knows.
    control("DELETE", "/access-tokens")
    equal(client.user.get(openid)["openid"], openid)
    try:
        client.user.get("nobody")
        raise AssertionError("an unknown openid was accepted")
    except WeChatClientException as refusal:
        equal(refusal.errcode, 40003)

    for mode in ("plain", "compatible", "secure"):
        receive(kit, control, openid, code["ticket"], mode)


def receive(kit, control, openid, ticket, mode):
    """A service account's server: takes what the library verifies and decrypts, and answers a scan."""
    server = Portal(kit, mode)
    control("PUT", "/official-account", {"push_url": server.url, "mode": mode})
    assert control("POST", "/official-account/verify", {})["accepted"]
    control("POST", "/people/xiaoming/scan", {"ticket": ticket})
    control("POST", "/outbox/flush", {})
    equal(server.problems, [])
    equal([(push.event, push.source, push.ticket) for push in server.received], [("scan", openid, ticket)])
    chat = control("GET", "/people/xiaoming/messages")
    assert any(f"hello from {mode}" in str(line) for line in chat), chat
    server.close()


def mini_program(kit, sandbox):
    control = Control(sandbox)
    client = client_of(sandbox, kit["mini_program_appid"], kit["mini_program_secret"])
    login = control("POST", "/people/xiaoming/login-code", {"real_profile": True})
    session = client.wxa.code_to_session(login["code"])
    equal(session["openid"], control("GET", "/people/xiaoming")["mini_program_openid"])
    check_wxa_signature(session["session_key"], login["rawData"], login["signature"])
    crypto = WeChatWxaCrypto(session["session_key"], login["iv"], kit["mini_program_appid"])
    equal(crypto.decrypt_message(login["encryptedData"])["nickName"], "小明")
    try:
        client.wxa.code_to_session(login["code"])
        raise AssertionError("a used code was accepted")
    except WeChatClientException as refusal:
        equal(refusal.errcode, 40163)


XML = {"content-type": "text/xml"}


class Stamp:
    """Timestamp and nonce of one message, and the signature over them."""

    def __init__(self, kit):
        self.timestamp, self.nonce = str(int(time.time())), str(uuid.uuid4().int % 10**9)
        signer = WeChatSigner()
        signer.add_data(kit["official_account_token"], self.timestamp, self.nonce)
        self.signature = signer.signature

    def query(self):
        return {"signature": self.signature, "timestamp": self.timestamp, "nonce": self.nonce}


class Portal:
    def __init__(self, kit, mode):
        self.received, self.problems = [], []
        portal = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                query = single(self.path)
                check_signature(kit["official_account_token"], query["signature"], query["timestamp"], query["nonce"])
                self.answer(query["echostr"])

            def do_POST(self):
                query, body = single(self.path), self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    self.answer(portal.handle(kit, mode, query, body))
                except (InvalidSignatureException, KeyError) as problem:
                    portal.problems.append(repr(problem))
                    self.answer("")

            def answer(self, text):
                body = text.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/portal"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handle(self, kit, mode, query, body):
        check_signature(kit["official_account_token"], query["signature"], query["timestamp"], query["nonce"])
        crypto = account_crypto(kit)
        if mode != "plain":
            body = crypto.decrypt_message(body, query["msg_signature"], query["timestamp"], query["nonce"])
        push = parse_message(body)
        self.received.append(push)
        reply = TextReply(message=push, content=f"hello from {mode}").render()
        return crypto.encrypt_message(reply, query["nonce"], query["timestamp"]) if mode != "plain" else reply

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Control:
    """The sandbox's control API; every call must succeed."""

    def __init__(self, sandbox):
        self.base = f"{sandbox}/sandbox/api"

    def __call__(self, method, path, body=None):
        answer = requests.request(method, self.base + path, json=body, timeout=10)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


class Elsewhere(HTTPAdapter):
    """Sends what goes to WeChat to another base address; nothing else of a request is changed."""

    def __init__(self, base):
        super().__init__()
        self.base = urlsplit(base)

    def send(self, request, **options):
        request.url = urlsplit(request.url)._replace(scheme=self.base.scheme, netloc=self.base.netloc).geturl()
        return super().send(request, **options)


def client_of(sandbox, app_id, secret):
    client = WeChatClient(app_id, secret, timeout=10)
    for host in ("https://api.weixin.qq.com/", "https://mp.weixin.qq.com/"):
        client._http.mount(host, Elsewhere(sandbox))
    return client


def account_crypto(kit):
    return WeChatCrypto(kit["official_account_token"], kit["official_account_encoding_aes_key"], kit["official_account_appid"])


def parse_xml(text):
    return xmltodict.parse(text)["xml"]


def single(target):
    return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}


if __name__ == "__main__":
    run({"pushes": pushes, "calls": calls})
