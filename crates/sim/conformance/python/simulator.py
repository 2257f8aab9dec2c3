"""The simulator as its ready file and its control API show it, and an endpoint for its notifications."""

import json
import ssl
import sys
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SCOPE = "https://graph.microsoft.com/.default"
MAILBOX = "support@contoso.example"
CUSTOMER = "anna@customer.example"


class Simulator:
    """What the ready file says, and what a person may do to the world."""

    def __init__(self, ready, state):
        facts = json.loads(Path(ready).read_text())
        self.https = facts["https"].replace("127.0.0.1", "localhost")
        self.host = urllib.parse.urlsplit(self.https).netloc
        self.control = facts["control"]
        self.tenant = facts["tenant_id"]
        self.client = facts["client_id"]
        self.secret = facts["client_secret"]
        self.state = Path(state)
        self.ca_file = str(self.state / "ca.pem")
        self.authority = f"{self.https}/{self.tenant}"

    @classmethod
    def from_arguments(cls):
        """The simulator that the harness names: ready file, state folder."""
        return cls(sys.argv[1], sys.argv[2])

    def _call(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(self.control + path, data=body, method=method)
        request.add_header("Content-Type", kind)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def deliver(self, subject, *, sender=CUSTOMER, body="Hello", mailbox=MAILBOX, attachment=None):
        """Brings a mail from a customer to a mailbox."""
        head = f"From: Anna <{sender}>\r\nTo: {mailbox}\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
        head += f"Message-ID: <{subject.replace(' ', '-')}-{time.monotonic_ns()}@customer.example>\r\n"
        if attachment is None:
            mail = f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n"
        else:
            mail = (
                f"{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
                f"Content-Type: text/plain\r\n\r\n{body}\r\n--b\r\n"
                f"Content-Type: text/csv; name=list.csv\r\nContent-Disposition: attachment; filename=list.csv\r\n\r\n"
                f"{attachment}\r\n--b--\r\n"
            )
        path = f"/v1/mailboxes/{mailbox}/messages"
        return self._call("POST", path, mail.encode(), "message/rfc822")["id"]

    def outside(self, address):
        """The mails (base64) that somebody outside received."""
        return self._call("GET", f"/v1/outside/{address}")["messages"]

    def switch(self, name, value):
        """Throws a switch."""
        self._call("PUT", f"/v1/switches/{name}", json.dumps(value).encode())

    def add_certificate(self, pem):
        """Registers a certificate (PEM) as a credential of the application."""
        path = f"/v1/applications/{self.client}/certificates"
        self._call("POST", path, json.dumps({"pem": pem}).encode())

    def add_federation(self, issuer, subject, public_key_pem):
        """Registers an outside issuer whose assertions the application may use."""
        facts = {"issuer": issuer, "subject": subject, "public_key_pem": public_key_pem}
        self._call("POST", f"/v1/applications/{self.client}/federations", json.dumps(facts).encode())

    def throttle_for(self, seconds):
        """Answers 429 to everything for a moment."""
        self.switch("throttle.rate", 1)
        threading.Timer(seconds, lambda: self.switch("throttle.rate", 0)).start()


class Endpoint:
    """Takes notifications over TLS, with the simulator's own certificate, which it trusts."""

    def __init__(self, simulator):
        self.notifications = []
        self.handshakes = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = query.get("validationToken")
                if token:
                    endpoint.handshakes += 1
                else:
                    endpoint.notifications += json.loads(body)["value"]
                answer = token[0].encode() if token else b""
                self.send_response(200 if token else 202)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(simulator.state / "server.pem", simulator.state / "server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()


def certificate():
    """A key and a self-signed certificate for it: (private key PEM, certificate PEM, SHA-1 thumbprint)."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "conformance")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    return private.decode(), public.decode(), made.fingerprint(hashes.SHA1()).hex()
