"""The Automation documents of the templates are run, step by step, against clouds that answer."""

import contextlib
import json
import logging
import os
import subprocess
import time
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest import mock

import boto3
from automation import Automation, Refused
from botocore.exceptions import ClientError
from moto.rds.models import rds_backends
from moto.server import ThreadedMotoServer
from test_rules import ROOT, RULES

REGION = "eu-west-1"
ACCOUNT = "123456789012"
PIPELINE_ACCOUNT = "210987654321"
APPROVER = f"arn:aws:iam::{ACCOUNT}:role/dba"
STATE_MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:aurora-restore"
TAG = "aurora-restore:shared-by"
# The local cloud answers in milliseconds; a run that has not ended after as many looks will not end.
SECONDS_BETWEEN_LOOKS = 0.1
MOST_LOOKS = 1200


def document(template, resource, values):
    """An Automation document as CloudFormation would make it from the committed template."""
    read = RULES.Template(template, (ROOT / f"cloudformation/{template}.yaml").read_text())
    return RULES.Renderer(read, values).render(read.body["Resources"][resource]["Properties"]["Content"])


@contextlib.contextmanager
def configured(endpoint, key):
    """Everything that boto3 does goes to this endpoint, whatever the environment says otherwise."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ours = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with mock.patch.dict(os.environ, {**kept, **ours}, clear=True):
        boto3.setup_default_session()
        yield
    boto3.setup_default_session()


@contextlib.contextmanager
def local_cloud():
    """The pipeline in a local cloud, as `aurora-restore local up` serves it."""
    program = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/aurora-restore"
    if not program.exists():
        raise FileNotFoundError(f"{program} is not built: run `make test-templates`")
    words = [program, "local", "up", "--speed", "2000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as cloud:
        try:
            said = dict(word.split("=", 1) for _ in range(5) for word in cloud.stdout.readline().split() if "=" in word)
            with configured(said["AWS_ENDPOINT_URL"], ACCOUNT):
                yield
        finally:
            cloud.terminate()


def entered(test_class, context):
    """A context for all tests of a class."""
    stack = contextlib.ExitStack()
    test_class.addClassCleanup(stack.close)
    stack.enter_context(context)


def until(look):
    """Looks until something is there."""
    for _ in range(MOST_LOOKS):
        if found := look():
            return found
        time.sleep(SECONDS_BETWEEN_LOOKS)
    raise AssertionError("it never came")


def snapshots(**parameters):
    """Cluster snapshots by name, those of boto3's default session unless another `rds` is given."""
    rds = parameters.pop("rds", None) or boto3.client("rds")
    found = rds.describe_db_cluster_snapshots(**parameters)["DBClusterSnapshots"]
    return {snapshot["DBClusterSnapshotIdentifier"]: snapshot for snapshot in found}


def shared_with(snapshot):
    result = boto3.client("rds").describe_db_cluster_snapshot_attributes(DBClusterSnapshotIdentifier=snapshot)
    attributes = result["DBClusterSnapshotAttributesResult"]["DBClusterSnapshotAttributes"]
    # As a set: moto keeps an account that is added twice twice.
    return {account for attribute in attributes if attribute["AttributeName"] == "restore" for account in attribute["AttributeValues"]}


def create_source(name, **more):
    """A cluster in the local cloud, and a snapshot of it: its ARN."""
    rds = boto3.client("rds")
    rds.create_db_cluster(DBClusterIdentifier=name, Engine="aurora-postgresql", MasterUsername="orders_admin", ManageMasterUserPassword=True, **more)
    rds.create_db_instance(DBInstanceIdentifier=f"{name}-1", DBClusterIdentifier=name, DBInstanceClass="db.r6g.large", Engine="aurora-postgresql")
    until(lambda: rds.describe_db_instances(DBInstanceIdentifier=f"{name}-1")["DBInstances"][0]["DBInstanceStatus"] == "available")
    made = rds.create_db_cluster_snapshot(DBClusterIdentifier=name, DBClusterSnapshotIdentifier=f"{name}-daily")
    until(lambda: any(one["Status"] == "available" for one in snapshots(DBClusterIdentifier=name).values()))
    return made["DBClusterSnapshot"]["DBClusterSnapshotArn"]


class RestoreRunbook(unittest.TestCase):
    """In the local cloud: the committed pipeline, with its roles, restores a real database."""

    @classmethod
    def setUpClass(cls):
        entered(cls, local_cloud())
        cls.document = document("runbook", "RestoreRunbook", {"ApproverArns": [APPROVER]})
        topic = boto3.client("sns").create_topic(Name="Automation-aurora-restore-approvals")
        assert topic["TopicArn"] == cls.document["mainSteps"][1]["inputs"]["NotificationArn"]
        create_source("orders-prod", BackupRetentionPeriod=7)

    def setUp(self):
        self.asked = []

    def run_document(self, restore, request, decisions=None, reason="orders were deleted by mistake"):
        looks = iter(range(MOST_LOOKS))

        def pause(_):
            self.assertIsNotNone(next(looks, None), "it never ended")
            time.sleep(SECONDS_BETWEEN_LOOKS)

        def decide(inputs):
            self.asked.append(inputs["Message"])
            return {APPROVER: "Approve"} if decisions is None else decisions

        text = request if isinstance(request, str) else json.dumps(request)
        return Automation(decide, pause).run(self.document, {"RestoreId": restore, "Request": text, "Reason": reason})

    def executions(self):
        found = boto3.client("stepfunctions").list_executions(stateMachineArn=STATE_MACHINE)["executions"]
        return {execution["name"]: execution["status"] for execution in found}

    def assert_starts_nothing(self, run):
        before = self.executions()
        result = run()
        self.assertEqual(self.executions(), before)
        return result

    def test_an_approved_restore_is_started_and_followed_to_its_end(self):
        request = {"source": {"clusterIdentifier": "orders-prod"}, "target": {"clusterIdentifier": "orders-staging", "instanceClass": "db.r6g.large", "securityGroupIds": ["sg-0staging"]}}
        execution = self.run_document("incident-7", request)
        self.assertEqual((execution.status, execution.failure), ("Success", None))
        self.assertEqual(execution.steps, ["CheckRequest", "Approve", "Restore"])
        self.assertEqual(self.asked, ["Restore incident-7: orders were deleted by mistake"])
        arn = f"{STATE_MACHINE.replace(':stateMachine:', ':execution:')}:incident-7"
        self.assertEqual(execution.outputs["Restore.executionArn"], arn)
        self.assertEqual(execution.outputs["Restore.status"], "SUCCEEDED")
        self.assertEqual(json.loads(execution.outputs["Restore.output"])["restoreId"], "incident-7")
        started = boto3.client("stepfunctions").describe_execution(executionArn=arn)
        self.assertEqual(json.loads(started["input"]), request)
        restored = boto3.client("rds").describe_db_clusters(DBClusterIdentifier="orders-staging")["DBClusters"][0]
        self.assertEqual(restored["Status"], "available")

    def test_a_rejected_restore_is_not_started(self):
        execution = self.assert_starts_nothing(lambda: self.run_document("rejected", {"profile": "orders"}, {APPROVER: "Reject"}))
        self.assertEqual((execution.status, execution.failure), ("Rejected", "Approve: rejected"))
        self.assertEqual(execution.outputs, {})

    def test_only_those_named_can_approve(self):
        stranger = f"arn:aws:iam::{ACCOUNT}:role/somebody"
        execution = self.assert_starts_nothing(lambda: self.run_document("unapproved", {"profile": "orders"}, {stranger: "Approve"}))
        self.assertEqual((execution.status, execution.failure), ("TimedOut", "Approve: not approved within 28800 seconds"))

    def test_a_value_that_no_parameter_takes_is_refused_before_anything(self):
        fitting = {"profile": "orders"}
        refused = {
            "Request does not match": ("name", '["orders"]', "a good reason"),
            "Request is too long: 513": ("name", '{"profile":"' + "a" * 499 + '"}', "a good reason"),
            "RestoreId does not match": ("a restore", json.dumps(fitting), "a good reason"),
            "RestoreId is too long: 81": ("a" * 81, json.dumps(fitting), "a good reason"),
            "Reason does not match": ("name", json.dumps(fitting), "{{ Request }}"),
        }
        for message, (restore, request, reason) in refused.items():
            with self.subTest(message), self.assertRaisesRegex(Refused, message):
                self.assert_starts_nothing(lambda: self.run_document(restore, request, reason=reason))
        self.assertEqual(self.asked, [])

    def test_a_request_of_512_characters_is_taken(self):
        execution = self.run_document("long", '{"profile":"' + "a" * 498 + '"}', {APPROVER: "Reject"})
        self.assertEqual(execution.status, "Rejected")

    def test_nobody_is_asked_about_a_request_that_is_no_json_object(self):
        execution = self.assert_starts_nothing(lambda: self.run_document("malformed", "{profile: orders}"))
        self.assertEqual(execution.status, "Failed")
        self.assertIn("CheckRequest: Exception: Request is no JSON object: ", execution.failure)
        self.assertEqual(self.asked, [])

    def test_a_request_that_automation_hands_over_as_an_object_is_taken(self):
        inputs = self.document["mainSteps"][0]["inputs"]
        for request in ({"profile": "orders"}, '{"profile": "orders"}'):
            answer = Automation().execute_script({**inputs, "InputPayload": {"request": request}}, {"name": "CheckRequest"})
            self.assertEqual(answer, {"Payload": None})

    def test_a_name_that_was_used_for_another_request_starts_nothing(self):
        self.run_document("twice", {"profile": "nobodys"})
        execution = self.assert_starts_nothing(lambda: self.run_document("twice", {"profile": "others"}))
        self.assertEqual(execution.status, "Failed")
        self.assertIn("ExecutionAlreadyExists", execution.failure)
        self.assertEqual(execution.outputs, {})

    def test_a_restore_that_fails_fails_the_runbook(self):
        execution = self.run_document("failing", {"profile": "nobodys"})
        self.assertEqual(execution.status, "Failed")
        self.assertRegex(execution.failure, "^Restore: execution .*:failing ended FAILED: AR0002$")
        self.assertEqual(execution.steps, ["CheckRequest", "Approve"])
        self.assertEqual(self.executions()["failing"], "FAILED")


class ShareSnapshot(unittest.TestCase):
    """In moto, because only its API makes automated snapshots: the whole document. Nothing takes time in it, so the tests say what does."""

    @classmethod
    def setUpClass(cls):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        cls.addClassCleanup(server.stop)
        entered(cls, configured(f"http://127.0.0.1:{server.get_host_and_port()[1]}", "testing"))
        cls.key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]

    def setUp(self):
        self.calls = []
        self.looks = 0
        self.backend = rds_backends[ACCOUNT][REGION]
        boto3.setup_default_session()
        boto3.DEFAULT_SESSION.events.register("provide-client-params.rds", self.record)
        self.cluster = self._testMethodName.replace("_", "-")[-40:].strip("-")

    def record(self, params, model, **_):
        self.calls.append((model.name, dict(params)))

    def called(self, name):
        return [params for called, params in self.calls if called == name]

    def source(self, *days, encrypted=False):
        """The cluster, with automated snapshots of these days of November, in this order."""
        key = {"StorageEncrypted": True, "KmsKeyId": self.key} if encrypted else {}
        boto3.client("rds").create_db_cluster(DBClusterIdentifier=self.cluster, Engine="aurora-postgresql", MasterUsername="orders_admin", MasterUserPassword="not-a-secret", **key)
        # moto takes one as soon as there is a cluster.
        for name in [name for name, snapshot in self.backend.cluster_snapshots.items() if snapshot.db_cluster_identifier == self.cluster]:
            del self.backend.cluster_snapshots[name]
        for day in days:
            self.take(day)

    def take(self, day, status="available"):
        """The automated snapshot of a day."""
        taken = datetime(2026, 11, day, 3, tzinfo=timezone.utc)
        snapshot = self.backend.create_auto_cluster_snapshot(self.cluster, f"rds:{self.cluster}-{taken:%Y-%m-%d-%H-%M}")
        snapshot.created, snapshot.status = taken, status

    def copy_of(self, day):
        return f"shared-{self.cluster}-202611{day:02}-030000"

    def copies(self):
        """The names of the cluster's manual snapshots."""
        return sorted(snapshots(DBClusterIdentifier=self.cluster, SnapshotType="manual"))

    def share(self, kept=2, pause=None):
        values = {
            "SourceCluster": self.cluster,
            "PipelineAccountId": PIPELINE_ACCOUNT,
            "SnapshotsKept": str(kept),
            "SharedSnapshotsKey.Arn": self.key,
            "AWS::StackName": "orders-sharing",
        }
        return Automation(pause=pause or self.fail).run(document("source-account", "ShareSnapshot", values))

    def test_the_newest_available_snapshot_is_shared_with_one_account(self):
        self.source(18, 20, 17, 19)
        self.take(21, status="creating")
        execution = self.share()
        self.assertEqual((execution.status, execution.failure), ("Success", None))
        self.assertEqual(execution.steps, ["FindNewest", "Copy", "WaitForCopy", "Share", "DeleteOlder"])
        self.assertEqual(execution.outputs, {"FindNewest.copy": self.copy_of(20)})
        self.assertEqual(self.copies(), [self.copy_of(20)])
        self.assertEqual(shared_with(self.copy_of(20)), {PIPELINE_ACCOUNT})
        self.assertEqual(snapshots()[self.copy_of(20)]["TagList"], [{"Key": TAG, "Value": "orders-sharing"}])

    def test_an_encrypted_snapshot_is_copied_under_the_shared_key(self):
        self.source(20, encrypted=True)
        self.assertEqual(self.share().status, "Success")
        self.assertEqual([call["KmsKeyId"] for call in self.called("CopyDBClusterSnapshot")], [self.key])

    def test_an_unencrypted_snapshot_is_copied_without_a_key(self):
        self.source(20)
        self.assertEqual(self.share().status, "Success")
        self.assertEqual(["KmsKeyId" in call for call in self.called("CopyDBClusterSnapshot")], [False])

    def test_sharing_twice_makes_one_copy(self):
        self.source(20)
        self.share()
        self.assertEqual(self.share().status, "Success")
        self.assertEqual(self.copies(), [self.copy_of(20)])
        self.assertEqual(shared_with(self.copy_of(20)), {PIPELINE_ACCOUNT})

    def test_a_copy_is_shared_once_it_is_available(self):
        self.source(20)
        boto3.DEFAULT_SESSION.events.register("after-call.rds.CopyDBClusterSnapshot", self.copying)
        self.assertEqual(self.share(pause=self.finish).status, "Success")
        self.assertEqual(self.looks, 3)
        self.assertEqual(shared_with(self.copy_of(20)), {PIPELINE_ACCOUNT})

    def copying(self, **_):
        self.backend.cluster_snapshots[self.copy_of(20)].status = "copying"

    def finish(self, _):
        """Ends the copy in the third pause."""
        self.looks += 1
        self.assertEqual(self.called("ModifyDBClusterSnapshotAttribute"), [])
        if self.looks == 3:
            self.backend.cluster_snapshots[self.copy_of(20)].status = "available"

    def test_a_copy_that_is_not_found_at_once_is_looked_for(self):
        self.source(20)
        hidden = {}

        def hide(**_):
            hidden[self.copy_of(20)] = self.backend.cluster_snapshots.pop(self.copy_of(20))

        boto3.DEFAULT_SESSION.events.register("after-call.rds.CopyDBClusterSnapshot", hide)
        with mock.patch("time.sleep", side_effect=lambda _: self.backend.cluster_snapshots.update(hidden)) as slept:
            execution = self.share()
        self.assertEqual((execution.status, execution.failure), ("Success", None))
        slept.assert_called_once_with(5)

    def test_a_copy_that_is_never_found_fails_the_run(self):
        self.source(20)
        boto3.DEFAULT_SESSION.events.register("after-call.rds.CopyDBClusterSnapshot", lambda **_: self.backend.cluster_snapshots.pop(self.copy_of(20)))
        with mock.patch("time.sleep"):
            execution = self.share()
        self.assertEqual(execution.failure, f"Copy: Exception: copy {self.copy_of(20)} was made and cannot be found")

    def test_a_copy_that_does_not_end_is_not_shared(self):
        self.source(20)
        boto3.DEFAULT_SESSION.events.register("after-call.rds.CopyDBClusterSnapshot", self.copying)
        with mock.patch.object(Automation, "SECONDS_BETWEEN_LOOKS", 7200):
            execution = self.share(pause=lambda _: None)
        self.assertEqual((execution.status, execution.failure), ("TimedOut", "WaitForCopy: not within 43200 seconds"))
        self.assertEqual(shared_with(self.copy_of(20)), set())

    def test_copies_beyond_those_kept_are_deleted_and_nobody_elses(self):
        self.source()
        rds = boto3.client("rds")
        others = [f"shared-{self.cluster}-20200101-000000", f"shared-{self.cluster}-20200102-000000", f"{self.cluster}-by-hand"]
        for name, tags in zip(others, ([], [{"Key": TAG, "Value": "another-stack"}], [])):
            rds.create_db_cluster_snapshot(DBClusterIdentifier=self.cluster, DBClusterSnapshotIdentifier=name, Tags=tags)
        for day in (17, 18, 19, 20):
            self.take(day)
            self.assertEqual(self.share(kept=2).status, "Success")
        self.assertEqual(self.copies(), sorted([*others, self.copy_of(19), self.copy_of(20)]))
        deleted = [call["DBClusterSnapshotIdentifier"] for call in self.called("DeleteDBClusterSnapshot")]
        self.assertEqual(deleted, [self.copy_of(17), self.copy_of(18)])

    def test_a_snapshot_of_somebody_else_with_the_copys_name_is_not_shared(self):
        self.source(20)
        boto3.client("rds").create_db_cluster_snapshot(DBClusterIdentifier=self.cluster, DBClusterSnapshotIdentifier=self.copy_of(20))
        execution = self.share()
        self.assertEqual(execution.failure, f"Copy: Exception: snapshot {self.copy_of(20)} exists and is not of orders-sharing: rename or delete it")
        self.assertEqual(shared_with(self.copy_of(20)), set())

    def test_a_copy_that_failed_before_is_named(self):
        self.source(20)
        self.share()
        self.backend.cluster_snapshots[self.copy_of(20)].status = "failed"
        self.assertEqual(self.share().failure, f"Copy: Exception: copy {self.copy_of(20)} failed: delete it and run this again")

    def test_a_cluster_without_snapshots_is_named(self):
        self.source()
        self.take(20, status="creating")
        execution = self.share()
        self.assertEqual((execution.status, execution.failure), ("Failed", f"FindNewest: Exception: cluster {self.cluster} has no available automated snapshot"))
        self.assertEqual(self.copies(), [])


class ShareSnapshotInTheLocalCloud(unittest.TestCase):
    """In the local cloud, which judges keys and copies as RDS does and takes its time: all after the first step. Its API makes no automated snapshots, so a manual one is copied."""

    @classmethod
    def setUpClass(cls):
        entered(cls, local_cloud())
        cls.key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]

    def share(self, cluster, arn, encrypted, day=20):
        values = {
            "SourceCluster": cluster,
            "PipelineAccountId": PIPELINE_ACCOUNT,
            "SnapshotsKept": "1",
            "SharedSnapshotsKey.Arn": self.key,
            "AWS::StackName": "orders-sharing",
        }
        whole = document("source-account", "ShareSnapshot", values)
        copy = f"shared-{cluster}-202611{day}-030000"
        earlier = {"FindNewest.arn": arn, "FindNewest.copy": copy, "FindNewest.encrypted": encrypted}
        automation = Automation(pause=lambda _: time.sleep(SECONDS_BETWEEN_LOOKS))
        execution = automation.run({**whole, "mainSteps": whole["mainSteps"][1:]}, earlier=earlier)
        return copy, execution

    def seen_by(self, account):
        rds = boto3.client("rds", aws_access_key_id=account, aws_secret_access_key="local")
        return {snapshot["DBClusterSnapshotArn"].rpartition(":")[2] for snapshot in snapshots(rds=rds, SnapshotType="shared").values()}

    def test_an_encrypted_copy_is_seen_by_the_pipelines_account_alone_and_takes_the_place_of_older_ones(self):
        key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
        arn = create_source("orders-secret", StorageEncrypted=True, KmsKeyId=key)
        older, execution = self.share("orders-secret", arn, "yes", day=19)
        self.assertEqual((execution.status, execution.failure), ("Success", None))
        copy, execution = self.share("orders-secret", arn, "yes")
        self.assertEqual((execution.status, execution.failure), ("Success", None))
        self.assertEqual(snapshots()[copy]["KmsKeyId"], self.key)
        self.assertEqual(self.seen_by(PIPELINE_ACCOUNT) & {copy, older}, {copy})
        self.assertEqual(self.seen_by("111111111111"), set())

    def test_an_unencrypted_copy_is_made_once_and_shared(self):
        arn = create_source("orders-plain")
        self.assertFalse(snapshots()["orders-plain-daily"]["StorageEncrypted"])
        for _ in range(2):
            copy, execution = self.share("orders-plain", arn, "no")
            self.assertEqual((execution.status, execution.failure), ("Success", None))
        self.assertIn(copy, self.seen_by(PIPELINE_ACCOUNT))

    def test_a_key_for_the_copy_of_an_unencrypted_snapshot_is_refused(self):
        """What the document's choice of a key is for."""
        arn = create_source("orders-open")
        copy, execution = self.share("orders-open", arn, "yes")
        self.assertEqual(execution.status, "Failed")
        with self.assertRaises(ClientError):
            snapshots(DBClusterSnapshotIdentifier=copy)


if __name__ == "__main__":
    unittest.main()
