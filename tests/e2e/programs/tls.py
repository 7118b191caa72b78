"""Stands in front of an S3 server and speaks TLS, with a certificate of a CA of its own for 127.0.0.1.

usage: tls.py HOST:PORT CA_FILE

Writes the CA's certificate into CA_FILE, and prints its port when it serves.
"""

import datetime
import ipaddress
import socket
import ssl
import sys
import tempfile
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def issue(name, key, issuer, signer, is_ca):
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if not is_ca:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(plain, context, upstream):
    try:
        client = context.wrap_socket(plain, server_side=True)
        server = socket.create_connection(upstream)
    except OSError:
        return plain.close()
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    pump(client, server)


host, port = sys.argv[1].rsplit(":", 1)
ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
ca = issue("CA of the test", ca_key, None, ca_key, True)
certificate = issue("127.0.0.1", key, ca.subject, ca_key, False)
PEM = serialization.Encoding.PEM
with open(sys.argv[2], "wb") as file:
    file.write(ca.public_bytes(PEM))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile() as chain:
    chain.write(certificate.public_bytes(PEM))
    chain.write(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    chain.flush()
    context.load_cert_chain(chain.name)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted, context, (host, int(port))), daemon=True).start()
