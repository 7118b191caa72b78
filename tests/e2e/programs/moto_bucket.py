"""Serves one bucket with moto, the second S3 server of the tests.

usage: moto_bucket.py HOST:PORT [OBJECTS]

Prints one line of JSON with its address when it serves. OBJECTS is a file of lines
`SIZE<TAB>KEY`; they are put into the bucket before that.
"""

import json
import logging
import sys

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
host, port = sys.argv[1].rsplit(":", 1)
backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
backend.create_bucket("logs", "us-east-1")
if len(sys.argv) > 2:
    for line in open(sys.argv[2], encoding="utf-8"):
        size, key = line.rstrip("\n").split("\t", 1)
        backend.put_object("logs", key, b"x" * int(size))
server = ThreadedMotoServer(ip_address=host, port=int(port))
server.start()
host, port = server.get_host_and_port()
print(json.dumps({
    "endpoint": f"http://{host}:{port}",
    "bucket": "logs",
    "region": "us-east-1",
    "access_key_id": "testing",
    "secret_access_key": "testing",
}), flush=True)
server._thread.join()
