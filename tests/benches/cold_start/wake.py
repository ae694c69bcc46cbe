"""The `wake` step as a Python function: what the Rust one is measured beside.

It does what the Rust step does for an event that nobody waits for: it asks the
state table, once for each resource of the event, whether a wait left its token.
"""

import json
import os

import boto3
from botocore.config import Config

TABLE = boto3.client(
    "dynamodb",
    config=Config(connect_timeout=3, read_timeout=10, retries={"max_attempts": 3, "mode": "standard"}),
)


def handler(event, _context):
    arns = set(event.get("resources", []))
    source = event.get("detail", {}).get("SourceArn")
    if source:
        arns.add(source)
    answered = 0
    for arn in sorted(arns):
        found = TABLE.get_item(
            TableName=os.environ["AURORA_RESTORE_TABLE"],
            Key={"pk": {"S": f"WAKE#{arn}"}, "sk": {"S": "TOKEN"}},
            ConsistentRead=True,
        )
        if "Item" in found:
            answered += 1
    print(json.dumps({"message": "woken", "event": event.get("detail", {}).get("EventID"), "answered": answered}))
    return {"answered": answered}
