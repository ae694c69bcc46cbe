"""Restores a cluster with nothing but boto3 and psql; argument: the psql program."""

import json
import os
import subprocess
import sys
import time

import boto3

PSQL = sys.argv[1]
OLD_PASSWORD = "a-password-of-the-source"


def client(service):
    return boto3.client(service, endpoint_url=os.environ["AWS_ENDPOINT_URL"])


def until(what, look):
    """Looks until there is an answer; gives up after some hundred looks."""
    for _ in range(600):
        found = look()
        if found:
            return found
        time.sleep(0.2)
    sys.exit(f"waited too long for {what}")


def sql(cluster, password, statement):
    """Runs a statement; gives its exit code and output."""
    done = subprocess.run(
        [PSQL, "-h", cluster["Endpoint"], "-p", str(cluster["Port"]), "-U", cluster["MasterUsername"],
         "-d", "shop", "-qtA", "-v", "ON_ERROR_STOP=1", "-c", statement],
        env={**os.environ, "PGPASSWORD": password, "PGSSLMODE": "require"},
        capture_output=True, text=True, check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


rds, states, secrets = client("rds"), client("stepfunctions"), client("secretsmanager")


def cluster_of(name):
    return rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0]


secret = secrets.create_secret(
    Name="shop/master", SecretString=json.dumps({"username": "shop_admin", "password": OLD_PASSWORD}))
rds.create_db_cluster(DBClusterIdentifier="shop", Engine="aurora-postgresql", DatabaseName="shop",
                      MasterUsername="shop_admin", MasterUserPassword=OLD_PASSWORD)
rds.create_db_instance(DBInstanceIdentifier="shop-1", DBClusterIdentifier="shop",
                       DBInstanceClass="db.r6g.large", Engine="aurora-postgresql")
rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier="shop-1", WaiterConfig={"Delay": 1, "MaxAttempts": 120})
source = cluster_of("shop")
code, said = sql(source, OLD_PASSWORD, "CREATE TABLE goods (id int); INSERT INTO goods VALUES (1), (2), (3)")
assert code == 0, said

rds.create_db_cluster_snapshot(DBClusterIdentifier="shop", DBClusterSnapshotIdentifier="shop-monday")
rds.get_waiter("db_cluster_snapshot_available").wait(
    DBClusterSnapshotIdentifier="shop-monday", WaiterConfig={"Delay": 1, "MaxAttempts": 120})

execution = states.start_execution(
    stateMachineArn=os.environ["STATE_MACHINE_ARN"], name="shop-1",
    input=json.dumps({
        "source": {"clusterIdentifier": "shop", "masterSecretArn": secret["ARN"]},
        "target": {"clusterIdentifier": "shop-staging", "instanceClass": "db.r6g.large",
                   "securityGroupIds": ["sg-0staging"]},
    }))["executionArn"]


def ended():
    execution_now = states.describe_execution(executionArn=execution)
    return execution_now if execution_now["status"] != "RUNNING" else None


outcome = until("the restore", ended)
assert outcome["status"] == "SUCCEEDED", outcome
history = [event for page in states.get_paginator("get_execution_history").paginate(executionArn=execution)
           for event in page["events"]]
entered = [event["stateEnteredEventDetails"]["name"] for event in history if "stateEnteredEventDetails" in event]
assert entered[0] == "Begin" and entered[-1] == "Restored", entered
assert OLD_PASSWORD not in json.dumps(history, default=str)

target = cluster_of("shop-staging")
new = json.loads(secrets.get_secret_value(SecretId=target["MasterUserSecret"]["SecretArn"])["SecretString"])
code, rows = sql(target, new["password"], "SELECT count(*) FROM goods")
assert code == 0, rows
code, said = sql(target, OLD_PASSWORD, "SELECT 1")
assert code != 0 and "password authentication failed" in said, said
print(f"restored: {rows} rows, old password refused")
