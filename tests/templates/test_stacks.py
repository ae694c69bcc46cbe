"""The templates make stacks in an emulator that is not ours, moto, packaged and deployed with the AWS CLI."""

import json
import logging
import os
import shutil
import subprocess
import tempfile
import unittest
import warnings
import zipfile
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer
from test_rules import ROOT, RULES

REGION = "eu-west-1"
ACCOUNT = "123456789012"


class Stacks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        # It says what of CloudFormation it does not know, such as alarms, schedules and topic policies: those it leaves out.
        logging.getLogger("moto").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", message="Tried to parse")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        cls.addClassCleanup(server.stop)
        # By this name moto finds the bucket of an uploaded template.
        cls.endpoint = f"http://localhost:{server.get_host_and_port()[1]}"
        cls.session = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION)
        cls.client("s3").create_bucket(Bucket="artefacts", CreateBucketConfiguration={"LocationConstraint": REGION})
        cls.root = cls.copy_of_the_repository()
        ec2 = cls.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"] for number in (1, 2)]
        cls.parameters = {
            "TargetClusterNames": "*-staging",
            "SourceSecretArns": f"arn:aws:secretsmanager:*:{ACCOUNT}:secret:rds!cluster-*",
            "Flows": '[{"source": "orders-prod", "target": "orders-staging"}]',
            "VpcId": vpc,
            "SubnetIds": ",".join(subnets),
        }
        packaged = cls.root / "packaged.yaml"
        cls.aws("package", "--template-file", str(cls.root / "cloudformation/pipeline.yaml"), "--s3-bucket", "artefacts", "--output-template-file", str(packaged))
        cls.client("s3").put_object(Bucket="artefacts", Key="packaged.yaml", Body=packaged.read_bytes())
        cls.outputs = cls.create("restores", cls.parameters)

    @classmethod
    def copy_of_the_repository(cls):
        """With a zip for each step. What a function does is not asked here, and building the real ones takes minutes."""
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        root = Path(folder.name)
        for name in ("cloudformation", "scripts"):
            shutil.copytree(ROOT / name, root / name)
        for name in ("statemachine", "package"):
            (root / name).mkdir()
        shutil.copy(ROOT / "statemachine/restore.asl.json", root / "statemachine")
        for step in steps():
            with zipfile.ZipFile(root / f"package/{step}.zip", "w") as archive:
                archive.writestr("bootstrap", f"of {step}")
        (root / "package/architecture").write_text("arm64\n")
        (root / "aws.ini").write_text("[default]\ns3 =\n  addressing_style = path\n")
        return root

    @classmethod
    def client(cls, service):
        return cls.session.client(service, endpoint_url=cls.endpoint)

    @classmethod
    def environment(cls):
        return {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": str(cls.root / "aws.ini"),
        }

    @classmethod
    def aws(cls, *words):
        environment = {**cls.environment(), "AWS_ENDPOINT_URL": cls.endpoint}
        subprocess.run(["aws", "cloudformation", *words], check=True, capture_output=True, text=True, env=environment)

    @classmethod
    def create(cls, name, parameters, template=None):
        """A stack of the packaged pipeline, or of another template by its path; gives its outputs."""
        cloudformation = cls.client("cloudformation")
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        where = {"TemplateBody": (ROOT / "cloudformation" / template).read_text()} if template else {"TemplateURL": f"{cls.endpoint}/artefacts/packaged.yaml"}
        cloudformation.create_stack(StackName=name, Parameters=given, Capabilities=["CAPABILITY_IAM"], **where)
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def deploy(self, stack, parameters, *more, answer=""):
        """scripts/deploy, as `make deploy` calls it."""
        path = self.root / f"{stack}.json"
        path.write_text(json.dumps(parameters))
        words = ["--stack", stack, "--bucket", "artefacts", "--parameters", str(path), "--endpoint", self.endpoint, *more]
        run = subprocess.run([str(self.root / "scripts/deploy"), *words], input=answer, capture_output=True, text=True, env=self.environment())
        return run.returncode, run.stdout + run.stderr

    def functions(self):
        found = self.client("lambda").list_functions()["Functions"]
        return {function["FunctionName"]: function for function in found if function["FunctionName"].startswith("restores-")}

    def test_the_outputs_are_named_and_have_values(self):
        self.assertEqual(self.outputs["StateMachineArn"], f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:restores")
        self.assertEqual(self.outputs["StateTableName"], "restores-state")
        self.assertEqual(self.outputs["SettingsParameterName"], "/restores/settings")
        self.assertEqual(self.outputs["ProfilesPath"], "/restores/profiles")
        self.assertEqual(self.outputs["OutcomesTopicArn"], f"arn:aws:sns:{REGION}:{ACCOUNT}:restores-outcomes")
        self.assertEqual(self.outputs["DeadLetterQueueName"], "restores-dead-letters")
        self.assertTrue(all(self.outputs.values()), self.outputs)

    def test_each_step_is_a_function_with_a_role_of_its_own(self):
        functions = self.functions()
        self.assertEqual(set(functions), {f"restores-{step}" for step in steps("pipeline")})
        self.assertEqual(len({function["Role"] for function in functions.values()}), len(functions))
        self.assertEqual({function["Runtime"] for function in functions.values()}, {"provided.al2023"})
        self.assertEqual({name for name, function in functions.items() if function["Timeout"] != 300}, {"restores-verify"})

    def test_functions_that_speak_sql_are_in_the_network_and_others_are_not(self):
        inside = {name for name, function in self.functions().items() if function.get("VpcConfig", {}).get("SubnetIds")}
        self.assertEqual(inside, {"restores-reset-credentials", "restores-verify"})

    def test_start_knows_the_state_machine(self):
        variables = self.functions()["restores-start"]["Environment"]["Variables"]
        self.assertEqual(variables["AURORA_RESTORE_STATE_MACHINE_ARN"], self.outputs["StateMachineArn"])
        self.assertEqual(variables["AURORA_RESTORE_PIPELINE"], "restores")

    def test_the_settings_are_what_the_parameters_say(self):
        value = self.client("ssm").get_parameter(Name=self.outputs["SettingsParameterName"])["Parameter"]["Value"]
        functions = self.functions()
        changing = ("copy-snapshot", "restore", "reset-credentials", "switch", "cleanup", "notify")
        self.assertEqual(
            json.loads(value),
            {
                "quarantineSecurityGroupIds": [self.outputs["QuarantineSecurityGroupId"]],
                "quarantineParameterGroups": {},
                "flows": [{"source": "orders-prod", "target": "orders-staging"}],
                "replaceable": [""],
                "productionTargets": [],
                "approversMayApproveOwn": False,
                "longestLifetimeHours": None,
                "expiryWarningHours": 24,
                "databaseTls": {"mode": "verify-full"},
                "roleTable": "",
                "functionRoles": {step: functions[f"restores-{step}"]["Role"] for step in changing},
            },
        )

    def test_only_the_functions_that_speak_sql_reach_the_quarantine(self):
        groups = self.client("ec2").describe_security_groups(GroupIds=[self.outputs["QuarantineSecurityGroupId"]])["SecurityGroups"]
        admitted = [(one["FromPort"], pair["GroupId"]) for one in groups[0]["IpPermissions"] for pair in one["UserIdGroupPairs"]]
        functions = self.outputs["SqlFunctionsSecurityGroupId"]
        self.assertEqual(sorted(admitted), [(3306, functions), (5432, functions)])
        self.assertFalse(any(one["IpRanges"] for one in groups[0]["IpPermissions"]))

    def test_the_state_table_is_as_the_functions_expect_it(self):
        table = self.client("dynamodb").describe_table(TableName=self.outputs["StateTableName"])["Table"]
        self.assertEqual([key["AttributeName"] for key in table["KeySchema"]], ["pk", "sk"])
        self.assertEqual({index["IndexName"] for index in table["GlobalSecondaryIndexes"]}, {"by-status", "by-target"})

    def test_events_and_the_reapers_clock_reach_their_functions(self):
        events = self.client("events")
        rules = [rule["Name"] for rule in events.list_rules(NamePrefix="restores-")["Rules"]]
        targets = {rule: events.list_targets_by_rule(Rule=rule)["Targets"][0]["Arn"].rpartition(":")[2] for rule in rules}
        self.assertEqual(targets, {"restores-wake": "restores-wake", "restores-reap-ended": "restores-reap", "restores-reap": "restores-reap"})

    def test_the_dashboard_shows_every_function_and_outcome(self):
        self.create("monitoring", {"PipelineName": "restores", "OutcomesTopicArn": self.outputs["OutcomesTopicArn"]}, "monitoring.yaml")
        body = self.client("cloudwatch").get_dashboard(DashboardName="restores")["DashboardBody"]
        shown = {word for widget in json.loads(body)["widgets"] for metric in widget["properties"].get("metrics", []) for word in metric if isinstance(word, str)}
        self.assertLessEqual({f"restores-{step}" for step in steps("pipeline")}, shown)
        self.assertLessEqual({"Restored", "FailedClean", "FailedDirty", "ReapFailures", self.outputs["StateMachineArn"]}, shown)

    def test_the_api_is_made_beside_the_pipeline_and_knows_its_state_machine(self):
        outputs, function, _ = self.api()
        self.assertEqual(outputs["ApiFunctionArn"], function["FunctionArn"])
        self.assertRegex(function["Role"], ":role/api-ApiRole-")
        self.assertEqual(function["Environment"]["Variables"]["AURORA_RESTORE_STATE_MACHINE_ARN"], self.outputs["StateMachineArn"])
        self.assertEqual(function["Environment"]["Variables"]["AURORA_RESTORE_TABLE"], self.outputs["StateTableName"])
        self.assertEqual(function["Environment"]["Variables"]["AURORA_RESTORE_TOPIC_ARN"], self.outputs["OutcomesTopicArn"])
        groups = self.client("logs").describe_log_groups(logGroupNamePrefix="/aws/apigateway/restores-api")["logGroups"]
        self.assertEqual([group["retentionInDays"] for group in groups], [400])

    def test_every_method_of_the_api_is_signed_and_runs_its_function(self):
        outputs, function, template = self.api()
        body = RULES.Renderer(template, {"ApiFunction.Arn": function["FunctionArn"]}).render(template.body["Resources"]["RestApi"]["Properties"]["Body"])
        gateway, api = self.client("apigateway"), outputs["RestApiId"]
        # Here moto checks the document as OpenAPI.
        gateway.put_rest_api(restApiId=api, mode="overwrite", failOnWarnings=True, body=json.dumps(body))
        paths = {resource["path"]: sorted(resource.get("resourceMethods", {})) for resource in gateway.get_resources(restApiId=api)["items"]}
        routes = {"/": [], "/health": ["GET"], "/restores": ["GET", "POST"], "/restores/{id}": ["GET"], "/restores/{id}/approval": ["POST"], "/restores/{id}/extension": ["POST"], "/restores/{id}/expiry": ["POST"]}
        self.assertEqual(paths, routes)
        for path in body["paths"].values():
            for method in path.values():
                self.assertEqual(method["x-amazon-apigateway-auth"], {"type": "AWS_IAM"})
                self.assertIn(f"{function['FunctionArn']}/invocations", method["x-amazon-apigateway-integration"]["uri"])

    def api(self):
        """The stack of api.yaml: its outputs, its function and the template.

        moto does not read the Body of a RestApi, and makes no deployment of an API without methods: the
        deployment and its stage, with what names them, are left out. Alarms it leaves out by itself.
        """
        packaged = self.root / "packaged-api.yaml"
        self.aws("package", "--template-file", str(self.root / "cloudformation/api.yaml"), "--s3-bucket", "artefacts", "--output-template-file", str(packaged))
        template = RULES.Template("api", packaged.read_text())
        without = {**template.body, "Resources": dict(template.body["Resources"]), "Outputs": dict(template.body["Outputs"])}
        for name in ("ApiDeployment3", "ApiStage", "ApiServerErrorsAlarm"):
            del without["Resources"][name]
        del without["Outputs"]["Url"]
        path = self.root / "without-stage.json"
        path.write_text(json.dumps(without))
        self.addCleanup(self.client("cloudformation").delete_stack, StackName="api")
        outputs = self.create("api", {"PipelineName": "restores", "PipelineKeyArn": self.outputs["PipelineKeyArn"], "TargetClusterNames": self.outputs["TargetClusterNames"]}, path)
        return outputs, self.client("lambda").get_function(FunctionName="restores-api")["Configuration"], template

    def test_the_runbook_has_a_role_of_its_own(self):
        parameters = {
            "PipelineName": "restores",
            "PipelineKeyArn": self.outputs["PipelineKeyArn"],
            "ApproverArns": f"arn:aws:iam::{ACCOUNT}:role/dba",
        }
        self.assertRegex(self.create("runbook", parameters, "runbook.yaml")["RunbookRoleArn"], r":role/runbook-RunbookRole-")

    def test_the_source_account_shares_with_the_pipelines_account_alone(self):
        outputs = self.create("sharing", {"SourceCluster": "orders-prod", "PipelineAccountId": "210987654321"}, "source-account.yaml")
        policy = self.client("kms").get_key_policy(KeyId=outputs["SharedSnapshotsKeyArn"], PolicyName="default")["Policy"]
        policy = policy if isinstance(policy, dict) else json.loads(policy)  # moto gives back the template's own mapping
        principals = {arn for statement in policy["Statement"] for arn in listed(statement["Principal"]["AWS"])}
        self.assertEqual(principals, {f"arn:aws:iam::{ACCOUNT}:root", "arn:aws:iam::210987654321:root"})

    def test_deploying_shows_the_change_set_and_executes_it_after_a_yes(self):
        parameters = {**self.parameters, "Flows": [{"source": "orders-prod", "target": "orders-staging"}], "SubnetIds": self.parameters["SubnetIds"].split(",")}
        status, said = self.deploy("deployed", parameters, answer="yes\n")
        self.assertEqual(status, 0, said)
        self.assertRegex(said, r"Change set of deployed:[\s\S]*Add +PlanFunction +AWS::Lambda::Function[\s\S]*deployed: CREATE_COMPLETE")
        names = {function["FunctionName"] for function in self.client("lambda").list_functions()["Functions"]}
        self.assertIn("deployed-plan", names)
        # moto does not hand the architecture on to the functions.
        given = {one["ParameterKey"]: one["ParameterValue"] for one in self.client("cloudformation").describe_stacks(StackName="deployed")["Stacks"][0]["Parameters"]}
        self.assertEqual(given["Architecture"], "arm64", "not what the functions were built for")

    def test_deploying_makes_nothing_without_a_yes(self):
        status, said = self.deploy("refused", self.parameters, answer="no\n")
        self.assertEqual((status, "not executed" in said), (1, True), said)
        names = {function["FunctionName"] for function in self.client("lambda").list_functions()["Functions"]}
        self.assertNotIn("refused-plan", names)

    def test_deploying_refuses_what_is_no_file_of_parameters(self):
        status, said = self.deploy("wrong", ["VpcId"], "--yes")
        self.assertEqual((status, "wrong.json: expected a JSON object" in said), (1, True), said)

    def test_deploying_refuses_another_architecture_than_was_built(self):
        status, said = self.deploy("crossed", {**self.parameters, "Architecture": "x86_64"}, "--yes")
        self.assertEqual((status, "Architecture is x86_64, but the functions in package/ were built for arm64" in said), (1, True), said)

    def test_deploying_names_a_step_that_was_not_built(self):
        away = (self.root / "package/plan.zip").rename(self.root / "package/plan.away")
        self.addCleanup(away.rename, self.root / "package/plan.zip")
        status, said = self.deploy("unbuilt", self.parameters, "--yes")
        self.assertEqual((status, "package/plan.zip missing: run `make package`" in said), (1, True), said)


def steps(*templates):
    """The steps whose zips the templates name: all templates when none is given."""
    paths = [ROOT / f"cloudformation/{name}.yaml" for name in templates] or (ROOT / "cloudformation").glob("*.yaml")
    code = [line.strip() for path in paths for line in path.read_text().splitlines() if line.strip().startswith("Code: ../package/")]
    return sorted(Path(line.removeprefix("Code: ")).stem for line in code)


def listed(value):
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    unittest.main()
