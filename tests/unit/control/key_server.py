"""A server of key sets on loopback, http or https: it answers as a test tells it, and remembers what it was asked."""

import datetime
import ipaddress
import json
import ssl
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class KeyServer:
    """`answers` maps a path to a document, to (status, headers, bytes), or to a function of the handler."""

    def __init__(self, server, scheme, ca=None):
        self.url = f"{scheme}://127.0.0.1:{server.server_port}"
        self.ca = ca
        self.answers = {}
        self.asked = []

    def give(self, *keys, path="/keys", **headers):
        body = json.dumps({"keys": list(keys)}).encode()
        self.answers[path] = (200, headers, body)


@contextmanager
def key_server(tls=False, name="127.0.0.1"):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            found.asked.append((self.path, dict(self.headers)))
            answer = found.answers.get(self.path, (404, {}, b""))
            if callable(answer):
                answer(self)
                return
            if isinstance(answer, dict):
                answer = (200, {}, json.dumps(answer).encode())
            status, headers, body = answer
            if "ETag" in headers and self.headers.get("If-None-Match") == headers["ETag"]:
                status, body = 304, b""
            self.send_response(status)
            for header, value in headers.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ca = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca = certified(context, name)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    found = KeyServer(server, "https" if tls else "http", ca)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def authority(name="Test CA", days=1, weak=False):
    """A CA certificate in PEM, and its key."""
    key = rsa.generate_private_key(65537, 1024) if weak else ec.generate_private_key(ec.SECP256R1())
    return _certificate(name, key, name, key, True, days).public_bytes(Encoding.PEM).decode(), key


def certified(context, name):
    """Give a TLS context a certificate for an address; the CA in PEM."""
    ca, ca_key = authority()
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _certificate(name, key, "Test CA", ca_key, False, 1)
    with tempfile.NamedTemporaryFile() as file:
        file.write(leaf.public_bytes(Encoding.PEM))
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        context.load_cert_chain(file.name)
    return ca


def _certificate(name, key, issuer, issuer_key, is_ca, days):
    at = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - datetime.timedelta(minutes=5))
        .not_valid_after(at + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if is_ca:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        address = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
