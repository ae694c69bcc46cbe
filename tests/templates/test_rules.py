"""Each rule of scripts/check-templates is shown a template that breaks it, and complains."""

import importlib.machinery
import importlib.util
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LOADER = importlib.machinery.SourceFileLoader("check_templates", str(ROOT / "scripts/check-templates"))
SPEC = importlib.util.spec_from_loader("check_templates", LOADER)
RULES = importlib.util.module_from_spec(SPEC)
LOADER.exec_module(RULES)
PIPELINE = (ROOT / "cloudformation/pipeline.yaml").read_text()
RUNBOOK = (ROOT / "cloudformation/runbook.yaml").read_text()
SHARING = (ROOT / "cloudformation/source-account.yaml").read_text()


class Rules(unittest.TestCase):
    """The committed template, with one thing broken at a time."""

    def broken(self, rule, before, after, complaint, text=PIPELINE):
        self.assertIn(before, text, "the template no longer has what this test breaks")
        template = RULES.Template("broken.yaml", text.replace(before, after, 1))
        found = [text for _, text in getattr(RULES, rule)(template)]
        self.assertTrue(any(complaint in text for text in found), f"expected `{complaint}` among {found}")

    def test_the_committed_templates_break_no_rule(self):
        for path in (ROOT / "cloudformation").glob("*.yaml"):
            self.assertEqual(RULES.check(path.name, path.read_text()), [])

    def test_a_log_group_without_retention(self):
        self.broken("logs_end_some_time", "      RetentionInDays: !Ref LogRetentionDays\n", "", "has no RetentionInDays")

    def test_a_log_group_without_a_key(self):
        self.broken("what_can_be_encrypted_is", "      KmsKeyId: !GetAtt PipelineKey.Arn\n", "", "KmsKeyId is missing")

    def test_a_topic_that_is_not_encrypted(self):
        self.broken("what_can_be_encrypted_is", "      KmsMasterKeyId: !Ref PipelineKey\n", "", "OutcomesTopic: not encrypted")

    def test_a_queue_that_is_not_encrypted(self):
        self.broken("what_can_be_encrypted_is", "SqsManagedSseEnabled: true", "SqsManagedSseEnabled: false", "DeadLetterQueue: not encrypted")

    def test_a_function_whose_environment_is_not_encrypted(self):
        self.broken("what_can_be_encrypted_is", "      KmsKeyArn: !GetAtt PipelineKey.Arn\n", "", "PlanFunction: not encrypted")

    def test_a_key_that_is_never_rotated(self):
        self.broken("what_can_be_encrypted_is", "EnableKeyRotation: true", "EnableKeyRotation: false", "PipelineKey: not encrypted, or with a key that is never rotated")

    def test_a_table_that_is_not_encrypted(self):
        self.broken("what_can_be_encrypted_is", "SSESpecification: {SSEEnabled: true, SSEType: KMS}", "SSESpecification: {SSEEnabled: false}", "SSEEnabled is missing")

    def test_a_table_without_recovery(self):
        self.broken("state_survives", "{PointInTimeRecoveryEnabled: true}", "{PointInTimeRecoveryEnabled: false}", "no point-in-time recovery")

    def test_a_table_that_goes_with_its_stack(self):
        self.broken("state_survives", "DeletionPolicy: Retain", "DeletionPolicy: Delete", "must be Retain")

    def test_an_endpoint_that_lets_other_accounts_through(self):
        self.broken("endpoints_admit_one_account", "                aws:PrincipalAccount: !Ref AWS::AccountId\n", '                aws:PrincipalAccount: "*"\n', "RdsEndpoint: credentials of other accounts get through")

    def test_a_wildcard_in_an_action(self):
        self.broken("actions_are_named", "Action: rds:RebootDBInstance", "Action: rds:Reboot*", "action `rds:Reboot*` has a wildcard")

    def test_an_action_that_is_not_named_but_excluded(self):
        self.broken("actions_are_named", "Action: rds:RebootDBInstance", "NotAction: rds:RebootDBInstance", "NotAction permits")

    def test_a_managed_policy(self):
        self.broken("actions_are_named", "      Policies:\n", "      ManagedPolicyArns: [arn:aws:iam::aws:policy/AmazonRDSFullAccess]\n      Policies:\n", "managed policies")

    def test_every_resource_without_a_reason(self):
        self.broken("everything_has_a_reason", "              # Traces have no resource types.\n", "", 'Resource "*" without a condition')

    def test_everybody_as_a_principal(self):
        self.broken("nothing_is_public", "                - budgets.amazonaws.com\n", '                - "*"\n', "a principal `*` is everybody")

    def test_everybody_as_a_caller_of_a_function(self):
        self.broken("nothing_is_public", "      Principal: events.amazonaws.com\n      SourceArn: !GetAtt WakeRule.Arn\n", '      Principal: "*"\n', "a principal `*` is everybody")

    def test_any_accounts_events_as_a_caller_of_a_function(self):
        self.broken("nothing_is_public", "      SourceArn: !GetAtt WakeRule.Arn\n", "", "SourceArn is missing")

    def test_a_group_that_admits_everybody(self):
        self.broken("nothing_is_public", "SourceSecurityGroupId: !GetAtt SqlFunctionsSecurityGroup.GroupId", "CidrIp: 0.0.0.0/0", "everybody may connect")

    def test_a_quarantine_that_admits_others(self):
        self.broken("the_quarantine_is_closed", "          FromPort: 5432\n          ToPort: 5432\n", "          FromPort: 0\n          ToPort: 65535\n", "admits others")

    def test_a_quarantine_that_lets_something_out(self):
        self.broken("the_quarantine_is_closed", "          CidrIp: 127.0.0.1/32\n", "          CidrIp: 10.0.0.0/8\n", "lets something out")

    def test_a_quarantine_that_is_opened_elsewhere(self):
        self.broken("the_quarantine_is_closed", "      GroupId: !GetAtt SqlFunctionsSecurityGroup.GroupId\n", "      GroupId: !GetAtt QuarantineSecurityGroup.GroupId\n", "opens the quarantine")

    def test_two_functions_with_one_role(self):
        self.broken("functions_share_nothing", "Role: !GetAtt RestoreRole.Arn", "Role: !GetAtt CleanupRole.Arn", "its role is not !GetAtt RestoreRole.Arn")

    def test_two_functions_with_one_log_group(self):
        self.broken("functions_share_nothing", "LogGroup: !Ref RestoreLogGroup", "LogGroup: !Ref PlanLogGroup", "its log group is not !Ref RestoreLogGroup")

    def test_a_function_that_runs_another_steps_code(self):
        self.broken("functions_share_nothing", "../package/plan.zip", "../package/cleanup.zip", "expected the name CleanupFunction")

    def test_a_function_that_is_not_traced(self):
        self.broken("functions_share_nothing", "        Mode: Active", "        Mode: PassThrough", "is not traced")

    def test_a_function_with_another_steps_name(self):
        self.broken("functions_share_nothing", 'FunctionName: !Sub "${AWS::StackName}-plan"', 'FunctionName: !Sub "${AWS::StackName}-planner"', "does not end with -plan")

    def test_a_log_group_with_another_steps_name(self):
        self.broken("functions_share_nothing", 'LogGroupName: !Sub "/aws/lambda/${AWS::StackName}-plan"', 'LogGroupName: !Sub "/aws/lambda/${AWS::StackName}-all"', "its name does not end with -plan")

    def test_a_parameter_that_takes_anything(self):
        self.broken("parameters_are_checked", '    AllowedPattern: "\\\\[.*\\\\]"\n', "", "parameter Flows takes anything")

    def test_a_number_without_bounds(self):
        self.broken("parameters_are_checked", "    MinValue: 128\n", "", "parameter FunctionMemory takes anything")

    def test_a_parameter_that_nobody_describes(self):
        self.broken("parameters_are_checked", "    Description: How many days logs are kept.\n", "", "parameter LogRetentionDays has no Description")

    def test_a_logical_id_of_another_style(self):
        self.broken("names_are_as_everywhere", "  WakeRule:\n", "  Wake_Rule:\n", "logical ids are words with capitals")

    def test_a_role_that_is_not_called_one(self):
        self.broken("names_are_as_everywhere", "  SchedulerRole:\n", "  SchedulerPermissions:\n", "the name of a role ends with Role")

    def test_a_role_with_a_name_of_its_own(self):
        self.broken("names_are_as_everywhere", '      Description: !Sub "What the state machine', '      RoleName: machine\n      Description: !Sub "What the state machine', "a RoleName keeps")

    def test_an_execution_log_with_data(self):
        self.broken("executions_tell_no_data", "IncludeExecutionData: false", "IncludeExecutionData: true", "IncludeExecutionData: false")

    def test_a_state_machine_that_is_not_traced(self):
        self.broken("executions_tell_no_data", "      TracingConfiguration:\n        Enabled: true", "      TracingConfiguration:\n        Enabled: false", "RestoreStateMachine: is not traced")

    def test_a_placeholder_that_nothing_is_substituted_for(self):
        self.broken("placeholders_and_substitutions_agree", "        VerifyFunctionArn: !GetAtt VerifyFunction.Arn\n", "", "nothing is substituted for ${VerifyFunctionArn}")

    def test_a_substitution_without_a_placeholder(self):
        self.broken("placeholders_and_substitutions_agree", "        VerifyFunctionArn:", "        StartFunctionArn: !GetAtt StartFunction.Arn\n        VerifyFunctionArn:", "has no ${StartFunctionArn}")

    def test_a_placeholder_that_becomes_another_step(self):
        self.broken("placeholders_and_substitutions_agree", "VerifyFunctionArn: !GetAtt VerifyFunction.Arn", "VerifyFunctionArn: !GetAtt SwitchFunction.Arn", "VerifyFunctionArn is not !GetAtt VerifyFunction.Arn")

    def test_a_definition_that_is_not_there(self):
        self.broken("placeholders_and_substitutions_agree", "restore.asl.json", "restored.asl.json", "there is no definition")

    def test_a_step_that_no_template_deploys(self):
        found = RULES.steps_without_function([PIPELINE], ["plan", "sanitize"])
        self.assertEqual(found, ["step sanitize: no template has the function SanitizeFunction"])

    def schema(self, *broken):
        if not RULES.AUTOMATION_SCHEMA.exists():
            self.skipTest("AWS' schema of Automation documents is not there; scripts/setup test fetches it where there is npm")
        self.broken("automation_documents_fit_the_services_schema", *broken)

    def test_a_document_with_a_misspelt_section(self):
        self.schema("        mainSteps:\n", "        mainstep:\n", "'mainSteps' is a required property", SHARING)

    def test_a_step_with_a_field_that_automation_does_not_have(self):
        self.schema("            isEnd: true\n", "            isLast: true\n", "'isLast' was unexpected", RUNBOOK)

    def test_an_action_that_automation_does_not_have(self):
        self.schema("action: aws:executeStateMachine", "action: aws:runStateMachine", "'aws:runStateMachine' is not one of", RUNBOOK)

    def test_an_approval_by_nobody(self):
        self.schema("              Approvers: !Ref ApproverArns\n", "", "'Approvers' is a required property", RUNBOOK)

    def test_a_runtime_that_was_retired(self):
        self.schema("Runtime: python3.11", "Runtime: python3.7", "'python3.7' is not one of ['python3.11']", SHARING)

    def test_a_parameter_of_no_type(self):
        self.schema("            type: String\n", "            type: Text\n", "'Text' is not one of", RUNBOOK)

    def test_a_reference_to_no_parameter(self):
        self.broken("automation_references_lead_somewhere", '"{{ Request }}"', '"{{ Requests }}"', "{{ Requests }} is no parameter", RUNBOOK)

    def test_a_reference_to_an_output_that_its_step_does_not_have(self):
        self.broken("automation_references_lead_somewhere", 'arn: "{{ FindNewest.arn }}"', 'arn: "{{ FindNewest.Arn }}"', "{{ FindNewest.Arn }} is no parameter", SHARING)

    def test_a_reference_to_a_later_step(self):
        self.broken("automation_references_lead_somewhere", "{{ RestoreId }}: {{ Reason }}", "{{ Restore.status }}", "step Approve: {{ Restore.status }} is no parameter", RUNBOOK)

    def test_a_next_step_that_is_not_there(self):
        self.broken("automation_references_lead_somewhere", "            onFailure: Abort\n", "            nextStep: Approval\n", "goes on with Approval, which is no step", RUNBOOK)

    def test_a_step_for_failures_that_is_not_there(self):
        self.broken("automation_references_lead_somewhere", "            onFailure: Abort\n", "            onFailure: step:Tell\n", "goes on with Tell, which is no step", RUNBOOK)

    def test_two_steps_of_one_name(self):
        self.broken("automation_references_lead_somewhere", "- name: WaitForCopy", "- name: Copy", "two steps are called Copy", SHARING)

    def test_an_output_that_the_state_machines_action_does_not_have(self):
        self.broken("automation_references_lead_somewhere", "- Restore.status", "- Restore.outcome", "output Restore.outcome is no output of a step", RUNBOOK)

    def test_an_input_that_an_action_does_not_take(self):
        self.broken("automation_inputs_are_what_the_actions_take", 'input: "{{ Request }}"', 'payload: "{{ Request }}"', "payload is no input of aws:executeStateMachine", RUNBOOK)

    def test_an_api_call_that_the_service_does_not_have(self):
        self.broken("automation_inputs_are_what_the_actions_take", "Api: DescribeDBClusterSnapshots", "Api: DescribeClusterSnapshots", "rds has no DescribeClusterSnapshots", SHARING)

    def test_an_api_call_of_no_service(self):
        self.broken("automation_inputs_are_what_the_actions_take", "Service: rds", "Service: aurora", "there is no service aurora", SHARING)

    def test_an_api_call_with_a_parameter_of_another_name(self):
        self.broken("automation_inputs_are_what_the_actions_take", "ValuesToAdd:", "AccountIds:", 'Unknown parameter in input: "AccountIds"', SHARING)

    def test_a_wait_for_no_value(self):
        self.broken("automation_inputs_are_what_the_actions_take", "              DesiredValues: [available]\n", "", "DesiredValues missing", SHARING)

    def test_a_script_that_is_no_python(self):
        self.broken("automation_scripts_have_their_handler", "def copy(event, context):", "def copy(event, context)", "Script is no Python", SHARING)

    def test_a_handler_that_its_script_does_not_have(self):
        self.broken("automation_scripts_have_their_handler", "Handler: find", "Handler: newest", "Script has no function newest(event, context)", SHARING)

    def test_a_handler_that_takes_no_context(self):
        self.broken("automation_scripts_have_their_handler", "def find(event, context):", "def find(event):", "Script has no function find(event, context)", SHARING)

    def test_a_value_that_becomes_code(self):
        self.broken("automation_scripts_have_their_handler", 'json.loads(event["request"])', 'json.loads("{{ Request }}")', "a value in the text of Script becomes code", RUNBOOK)

    def test_a_parameter_that_takes_more_than_systems_manager(self):
        self.broken("automation_keeps_the_services_limits", "maxChars: 512", "maxChars: 4096", "parameter Request has no maxChars, or one above the 512", RUNBOOK)

    def test_a_parameter_of_automation_that_takes_anything(self):
        self.broken("automation_keeps_the_services_limits", '            allowedPattern: "^[^{}]{3,200}$"\n', "", "parameter Reason has no allowedPattern", RUNBOOK)

    def test_a_document_whose_name_systems_manager_refuses(self):
        self.broken("automation_keeps_the_services_limits", 'Name: !Sub "${PipelineName}-restore"', 'Name: !Sub "${PipelineName}/restore"', "RestoreRunbook: Name is not", RUNBOOK)

    def test_a_step_whose_name_systems_manager_refuses(self):
        self.broken("automation_keeps_the_services_limits", "- name: Restore", "- name: start-restore", "step start-restore: a name is", RUNBOOK)

    def test_a_script_that_would_be_cut_off(self):
        self.broken("automation_keeps_the_services_limits", "timeoutSeconds: 300", "timeoutSeconds: 3600", "aws:executeScript ends after 600 seconds at most", SHARING)

    def test_an_approval_through_a_topic_that_automation_does_not_use(self):
        self.broken("automation_keeps_the_services_limits", '"Automation-${PipelineName}-approvals"', '"${PipelineName}-approvals"', "does not begin with Automation", RUNBOOK)

    def test_a_document_without_a_role(self):
        self.broken("automation_keeps_the_services_limits", "        assumeRole: !GetAtt RunbookRole.Arn\n", "", "without assumeRole", RUNBOOK)

    def test_every_rule_is_broken_by_a_test(self):
        tests = Path(__file__).read_text()
        for rule in RULES.RULES:
            self.assertIn(f'self.broken("{rule.__name__}"', tests)


class Parameters(unittest.TestCase):
    """What roles reach is named by parameters; none of them takes everything."""

    PARAMETERS = RULES.Template("pipeline.yaml", PIPELINE).body["Parameters"]

    def accepts(self, name, value):
        return bool(re.fullmatch(self.PARAMETERS[name]["AllowedPattern"], value))

    def test_no_name_that_roles_reach_is_a_bare_star(self):
        secret = "arn:aws:secretsmanager:*:*:secret:"
        for name, prefix in (("TargetClusterNames", ""), ("OwnSecretNames", ""), ("DatabaseRoleNames", ""), ("SourceSecretArns", secret)):
            for value in ("*", "**"):
                self.assertFalse(self.accepts(name, prefix + value), f"{name} takes {prefix + value}")
            self.assertIn("not * alone", self.PARAMETERS[name]["ConstraintDescription"])

    def test_names_with_stars_in_them_are_taken(self):
        accepted = {
            "TargetClusterNames": ["*-staging", "orders-staging", "orders-*", "*s*", "o" * 63],
            "OwnSecretNames": ["aurora-restore/*", "*/master", "a"],
            "DatabaseRoleNames": ["aurora-restore-database-*", "rds/*", "orders-s3"],
            "SourceSecretArns": [f"arn:aws:secretsmanager:{where}:secret:{name}" for where in ("*:*", "eu-west-1:123456789012") for name in ("rds!cluster-*", "*/master-*")],
        }
        for name, values in accepted.items():
            for value in values:
                self.assertTrue(self.accepts(name, value), f"{name} refuses {value}")


class Documentation(unittest.TestCase):
    """docs/deployment.md has what the templates have."""

    def test_every_parameter_and_output_is_in_the_deployment_guide(self):
        guide = (ROOT / "docs/deployment.md").read_text()
        for name in ("pipeline", "monitoring", "runbook", "api", "source-account"):
            template = RULES.Template(name, (ROOT / f"cloudformation/{name}.yaml").read_text())
            section = guide.partition(f"\n### {name}\n")[2].partition("\n##")[0]
            for word in [*template.body["Parameters"], *template.body["Outputs"]]:
                self.assertIn(f"`{word}`", section, f"{word} of {name}.yaml is not described")

    def test_defaults_are_as_the_deployment_guide_says(self):
        guide = (ROOT / "docs/deployment.md").read_text()
        for name in ("pipeline", "monitoring", "runbook", "api", "source-account"):
            template = RULES.Template(name, (ROOT / f"cloudformation/{name}.yaml").read_text())
            section = guide.partition(f"\n### {name}\n")[2].partition("\n##")[0]
            for word, parameter in template.body["Parameters"].items():
                row = next(line for line in section.splitlines() if f"`{word}`" in line)
                default = str(parameter.get("Default", ""))
                self.assertIn(default or ("| none" if "Default" in parameter else "| |"), row)


if __name__ == "__main__":
    unittest.main()
