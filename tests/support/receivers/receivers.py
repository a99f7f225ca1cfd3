"""Servers that take mails and webhooks, for tests: real SMTP over TLS by aiosmtpd, real HTTPS by Python's own server.

    receivers.py FOLDER

They listen on free ports of the loopback, which FOLDER/ports.json names once all of them do; FOLDER/ca.pem is the authority
that vouches for them, FOLDER/other.pem one that does not. What arrives goes to FOLDER/mails/N.json and FOLDER/calls/N.json.
What a server does follows from the recipient's name, and from the path of the call.
"""

import asyncio
import email
import email.policy
import hashlib
import hmac
import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER, PASSWORD = b"lode", b"s3cret-mail"
SECRET = b"s3cret-hook"
# Older calls are not taken, as somebody may have recorded them.
AGE_MAX_S = 300


class Arrived:
    """Numbered files, each of which is there as a whole or not at all."""

    def __init__(self, folder):
        self.folder, self.lock, self.next = folder, threading.Lock(), 0
        folder.mkdir()

    def put(self, fact):
        with self.lock:
            path = self.folder / f"{self.next:06}.json"
            self.next += 1
            part = path.with_suffix(".part")
            part.write_text(json.dumps(fact))
            part.rename(path)


class Mails:
    def __init__(self, arrived):
        self.arrived = arrived

    async def handle_RCPT(self, server, session, envelope, address, options):
        match address.split("@")[0]:
            case "unknown":
                return "550 no such user here"
            case "full":
                return "452 the mailbox is full for now"
            case "hang":
                await asyncio.sleep(3600)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.arrived.put({
            "encrypted": server.transport.get_extra_info("ssl_object") is not None,
            "user": getattr(session, "login_name", None),
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": [[name, str(value)] for name, value in message.items()],
            "text": message.get_content(),
        })
        return "250 taken"


class LogIn:
    def __call__(self, server, session, envelope, mechanism, data):
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER, PASSWORD)
        session.login_name = USER.decode() if right else None
        return AuthResult(success=right, handled=False)


class MailServer(Controller):
    """Implicit TLS, or TLS by STARTTLS, or none."""

    def __init__(self, handler, implicit=None, starttls=None, log_in=True):
        self.starttls, self.log_in = starttls, log_in
        super().__init__(handler, hostname="127.0.0.1", port=0, ssl_context=implicit)

    def factory(self):
        return SMTP(
            self.handler,
            tls_context=self.starttls,
            require_starttls=self.starttls is not None,
            authenticator=LogIn(),
            auth_required=self.log_in,
            auth_require_tls=self.starttls is not None,
        )

    def _trigger_server(self):
        # The port is only known now; the controller would connect to 0.
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def signature_is_right(headers, body):
    seconds, given = headers.get("X-Lode-Timestamp", ""), headers.get("X-Lode-Signature", "")
    if not seconds.isdigit() or abs(time.time() - int(seconds)) > AGE_MAX_S:
        return False
    made = hmac.new(SECRET, seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given, f"sha256={made}")


def calls(arrived):
    failures = {}

    class Call(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, status, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            arrived.put({
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": body.decode(),
                "signed": signature_is_right(self.headers, body),
            })
            match self.path.split("/")[1].split("?")[0]:
                case "fail":
                    self.answer(503)
                case "flaky":
                    failures[self.path] = failures.get(self.path, 0) + 1
                    self.answer(500 if failures[self.path] < 3 else 204)
                case "signed":
                    self.answer(200 if signature_is_right(self.headers, body) else 401)
                case "gone":
                    self.answer(404)
                case "redirect":
                    self.answer(307, Location="/ok")
                case "hang":
                    time.sleep(3600)
                case "drip":
                    # An answer that never ends, a byte at a time.
                    for letter in "HTTP/1.1 200 OK\r\nX-Long: " + 3600 * "x":
                        self.wfile.write(letter.encode())
                        self.wfile.flush()
                        time.sleep(0.1)
                case "flood":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + (1 << 20) * b"x" + b"\r\n\r\n")
                case _:
                    self.answer(200)

    return Call


def main(folder):
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other.pem")

    def context():
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(made)
        return made

    mails = Mails(Arrived(folder / "mails"))
    servers = {
        "smtps": MailServer(mails, implicit=context()),
        "starttls": MailServer(mails, starttls=context()),
        "plain": MailServer(mails, log_in=False),
    }
    for server in servers.values():
        server.start()
    ports = {name: server.port for name, server in servers.items()}

    arrived = Arrived(folder / "calls")
    for name in ("https", "http"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), calls(arrived))
        server.daemon_threads = True
        if name == "https":
            server.socket = context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        ports[name] = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()

    part = folder / "ports.part"
    part.write_text(json.dumps(ports))
    part.rename(folder / "ports.json")
    threading.Event().wait()


main(Path(sys.argv[1]))
