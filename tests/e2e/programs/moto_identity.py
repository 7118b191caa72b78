"""Serves the bucket of k8s/identity with moto, which decides by the roles' policies: by action and resource, not by conditions.

usage: moto_identity.py FOLDER

Each policy of FOLDER/policies becomes a role that trust/irsa.json is the trust policy of, and what the bucket's owner
sets is set, by boto3, which holds all of it against the models of AWS. Then each role tries each request. Prints one
line of JSON: address and keys of the owner, the keys of each role, and what each role may do.
"""

import json
import logging
import pathlib
import sys

import boto3
from botocore.exceptions import ClientError
from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.iam.access_control import S3IAMRequest
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
folder = pathlib.Path(sys.argv[1])
BUCKET, REGION = "my-bucket", "us-east-1"
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"


def client(service, keys=("owner", "owner")):
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION,
                        **dict(zip(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), keys)))


def read(name):
    return (folder / name).read_text(encoding="utf-8")


s3, iam, sts = client("s3"), client("iam"), client("sts")
s3.create_bucket(Bucket=BUCKET)
s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=json.loads(read("bucket/lifecycle.json")))
s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration=json.loads(read("bucket/encryption.json")))
for trust in (folder / "trust").glob("*.json"):
    iam.create_role(RoleName=trust.stem, AssumeRolePolicyDocument=trust.read_text(encoding="utf-8"))

allow_all = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
iam.create_user(UserName="owner")
iam.put_user_policy(UserName="owner", PolicyName="all", PolicyDocument=json.dumps(allow_all))
owner = iam.create_access_key(UserName="owner")["AccessKey"]

roles = {}
for file in sorted((folder / "policies").glob("*.json")):
    name = f"with-{file.stem}"
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=read("trust/irsa.json"))["Role"]["Arn"]
    policy = iam.create_policy(PolicyName=name, PolicyDocument=file.read_text(encoding="utf-8"))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=policy)
    keys = sts.assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    roles[file.stem] = (keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])

for key in ("logs/there", "elsewhere/there"):
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"there")
# From here on policies decide. Signatures are not looked at: moto computes that of a listing wrongly.
S3IAMRequest.check_signature = lambda self: None
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
ActionAuthenticatorMixin.request_count = 0

REQUESTS = {
    "put": lambda s3: s3.put_object(Bucket=BUCKET, Key="logs/new", Body=b"new"),
    "put elsewhere": lambda s3: s3.put_object(Bucket=BUCKET, Key="elsewhere/new", Body=b"new"),
    "get": lambda s3: s3.get_object(Bucket=BUCKET, Key="logs/there"),
    "get elsewhere": lambda s3: s3.get_object(Bucket=BUCKET, Key="elsewhere/there"),
    "list": lambda s3: s3.list_objects_v2(Bucket=BUCKET, Prefix="logs/"),
    "delete": lambda s3: s3.delete_object(Bucket=BUCKET, Key="logs/there"),
    "acl": lambda s3: s3.put_object_acl(Bucket=BUCKET, Key="logs/there", ACL="public-read"),
    "policy": lambda s3: s3.delete_bucket_policy(Bucket=BUCKET),
}


def may(keys, request):
    try:
        request(client("s3", keys))
        return True
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False


print(json.dumps({
    "endpoint": endpoint,
    "bucket": BUCKET,
    "region": REGION,
    "access_key_id": owner["AccessKeyId"],
    "secret_access_key": owner["SecretAccessKey"],
    "roles": roles,
    "may": {role: [name for name, request in REQUESTS.items() if may(keys, request)] for role, keys in roles.items()},
}), flush=True)
server._thread.join()
