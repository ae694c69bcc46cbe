"""Each rule of scripts/check-templates is shown a template that breaks it, and complains."""

import importlib.machinery
import importlib.util
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LOADER = importlib.machinery.SourceFileLoader("check_templates", str(ROOT / "scripts/check-templates"))
SPEC = importlib.util.spec_from_loader("check_templates", LOADER)
RULES = importlib.util.module_from_spec(SPEC)
LOADER.exec_module(RULES)
PIPELINE = (ROOT / "cloudformation/pipeline.yaml").read_text()


class Rules(unittest.TestCase):
    """The committed template, with one thing broken at a time."""

    def broken(self, rule, before, after, complaint):
        self.assertIn(before, PIPELINE, "the template no longer has what this test breaks")
        template = RULES.Template("pipeline.yaml", PIPELINE.replace(before, after, 1))
        found = [text for _, text in getattr(RULES, rule)(template)]
        self.assertTrue(any(complaint in text for text in found), f"expected `{complaint}` among {found}")

    def test_the_committed_template_breaks_no_rule(self):
        self.assertEqual(RULES.check("pipeline.yaml", PIPELINE), [])

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

    def test_every_rule_is_broken_by_a_test(self):
        tests = Path(__file__).read_text()
        for rule in RULES.RULES:
            self.assertIn(f'self.broken("{rule.__name__}"', tests)


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
