"""Runs the SQL of docs/QUERYING.md: what stands under DuckDB, on a bucket; what stands under Athena is parsed.

    queries.py DOCUMENT PREFIX      the bucket comes from ENDPOINT and the usual variables

Prints one JSON object for each statement.
"""

import glob
import json
import os
import re
import sys

import duckdb
import duckdb_extension_httpfs
import sqlglot
from sqlglot import exp


def statements(document, heading):
    section = document.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for block in re.findall(r"```sql\n(.*?)```", section, re.DOTALL):
        yield from filter(None, (text.strip() for text in re.split(r";\s*(?:\n|$)", block)))


def run_duckdb(document, prefix):
    folder = os.path.dirname(duckdb_extension_httpfs.__file__)
    (httpfs,) = glob.glob(f"{folder}/extensions/*/httpfs.duckdb_extension")
    here = {
        "INSTALL httpfs": f"INSTALL '{httpfs}'",
        "my-key-id": os.environ["AWS_ACCESS_KEY_ID"],
        "my-secret": os.environ["AWS_SECRET_ACCESS_KEY"],
        "'eu-central-1'": f"'{os.environ['AWS_REGION']}'",
        "s3.eu-central-1.amazonaws.com": os.environ["ENDPOINT"].removeprefix("http://"),
        "USE_SSL true": "USE_SSL false",
        "s3://my-bucket/logs/": prefix,
    }
    connection = duckdb.connect(config={"extension_directory": os.environ["EXTENSIONS"]})
    for statement in statements(document, "DuckDB"):
        for there, value in here.items():
            statement = statement.replace(there, value)
        rows = connection.execute(statement).fetchall()
        said = {"engine": "DuckDB", "sql": statement, "rows": rows}
        if statement.startswith("SELECT"):
            plan = connection.execute(f"EXPLAIN ANALYZE {statement}").fetchall()[0][1]
            said["files"] = int(re.search(r"Total Files Read: (\d+)", plan)[1])
        print(json.dumps(said, default=str))
    rows = connection.execute("SELECT line, writer FROM app_log").fetchall()
    print(json.dumps({"engine": "DuckDB", "sql": "all", "rows": rows}))


def parse_athena(document):
    for statement in statements(document, "Athena"):
        tree = sqlglot.parse_one(statement, dialect="athena", error_level=sqlglot.ErrorLevel.RAISE)
        assert not isinstance(tree, exp.Command), f"not understood: {statement}"
        said = {"engine": "Athena", "sql": statement, "properties": {}}
        for property in tree.find_all(exp.Property):
            if type(property) is exp.Property:
                said["properties"][property.name] = property.args["value"].name
            if isinstance(property, exp.LocationProperty):
                said["location"] = property.name
        print(json.dumps(said))


document = open(sys.argv[1]).read()
run_duckdb(document, sys.argv[2])
parse_athena(document)
