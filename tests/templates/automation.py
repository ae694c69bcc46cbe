"""Runs an Automation document of Systems Manager, with real requests to wherever boto3 is told to send them.

A small part of the service, after its reference
(https://docs.aws.amazon.com/systems-manager/latest/userguide/automation-actions.html): the
actions that our documents use. What it does not know it refuses, so that a document cannot
pass by what nobody looked at. It runs with the caller's credentials and takes no role.
"""

import json
import re
import time
from dataclasses import dataclass, field

import boto3
import botocore.session
import jmespath
from botocore.exceptions import ClientError

# What StartAutomationExecution takes, by the service's own model.
LONGEST_VALUE = botocore.session.get_session().get_service_model("ssm").shape_for("AutomationParameterValue").metadata["max"]
# Of aws:waitForAwsResourceProperty and aws:executeStateMachine when a step says nothing.
TIMEOUT_SECONDS_DEFAULT = 3600
REFERENCE = re.compile(r"\{\{\s*([\w:.]+)\s*\}\}")
TYPES = {"String": str, "Integer": int, "Boolean": bool, "StringList": list, "MapList": list, "StringMap": dict}


class Refused(Exception):
    """The execution was not begun."""


class StepFailed(Exception):
    """The step failed, and so does the execution: our documents have `onFailure: Abort` alone."""

    def __init__(self, message, status="Failed"):
        super().__init__(message)
        self.status = status


@dataclass
class Execution:
    """How an execution went: `Success`, `Failed`, `Rejected` or `TimedOut`; why; which steps ended well; its outputs."""

    status: str
    failure: str | None = None
    steps: list = field(default_factory=list)
    outputs: dict = field(default_factory=dict)


class Automation:
    """Runs documents.

    `decide` is asked at each approval: it is given the step's inputs and gives decisions,
    `Approve` or `Reject` by approver. `pause` lets as many seconds pass; it is called between
    two looks of an action that waits.
    """

    SECONDS_BETWEEN_LOOKS = 30

    def __init__(self, decide=lambda inputs: {}, pause=time.sleep):
        self.decide = decide
        self.pause = pause
        self.actions = {
            "aws:approve": self.approve,
            "aws:executeAwsApi": self.execute_aws_api,
            "aws:executeScript": self.execute_script,
            "aws:executeStateMachine": self.execute_state_machine,
            "aws:waitForAwsResourceProperty": self.wait_for_aws_resource_property,
        }

    def run(self, document, parameters=None, earlier=None):
        """Runs a document, given as a mapping. Parameters that it does not take are `Refused`.

        `earlier` are outputs of steps that were left out of the document, such as `FindNewest.arn`.
        """
        known = checked(document.get("parameters", {}), parameters or {}) | (earlier or {})
        execution = Execution("InProgress")
        for step in document["mainSteps"]:
            if unknown := set(step) - {"name", "action", "timeoutSeconds", "onFailure", "isEnd", "inputs", "outputs"} or step.get("onFailure", "Abort") != "Abort":
                raise NotImplementedError(f"step {step['name']}: {unknown}")
            try:
                answer = self.actions[step["action"]](rendered(step["inputs"], known), step)
                known |= {f"{step['name']}.{key}": value for key, value in answer.items()}
                known |= {f"{step['name']}.{one['Name']}": selected(one, answer) for one in step.get("outputs", [])}
            except StepFailed as failure:
                execution.status, execution.failure = failure.status, f"{step['name']}: {failure}"
                break
            execution.steps.append(step["name"])
            if step.get("isEnd"):
                break
        else:
            raise NotImplementedError("the last step is not its end")
        if execution.failure is None:
            execution.status = "Success"
        execution.outputs = {name: known[name] for name in document.get("outputs", []) if name in known}
        return execution

    def approve(self, inputs, step):
        """Asks through the topic. One rejection rejects."""
        topic = inputs["NotificationArn"]
        if not topic.rpartition(":")[2].startswith("Automation"):
            raise StepFailed(f"the name of {topic} does not begin with Automation")
        called(boto3.client("sns").publish, TopicArn=topic, Subject="Approval required", Message=inputs["Message"])
        decisions = {who: what for who, what in self.decide(inputs).items() if who in inputs["Approvers"]}
        if "Reject" in decisions.values():
            raise StepFailed("rejected", "Rejected")
        if len(decisions) < int(inputs.get("MinRequiredApprovals", 1)):
            raise StepFailed(f"not approved within {step['timeoutSeconds']} seconds", "TimedOut")
        return {"ApprovalStatus": "Approved", "ApproverDecisions": json.dumps(decisions)}

    def execute_script(self, inputs, step):
        """Runs the script in this process. Its handler is given, and gives, what JSON can hold."""
        names = {}
        exec(compile(inputs["Script"], step["name"], "exec"), names)
        try:
            answer = names[inputs["Handler"]](json.loads(json.dumps(inputs.get("InputPayload", {}))), {})
        except Exception as error:
            raise StepFailed(f"{type(error).__name__}: {error}") from error
        return {"Payload": json.loads(json.dumps(answer))}

    def execute_state_machine(self, inputs, step):
        """Starts an execution and follows it to its end. It must end well."""
        states = boto3.client("stepfunctions")
        arn = called(states.start_execution, **inputs)["executionArn"]
        for _ in self.looks(step):
            found = called(states.describe_execution, executionArn=arn)
            if found["status"] == "SUCCEEDED":
                return {key: found.get(key) for key in ("executionArn", "input", "name", "output", "startDate", "stateMachineArn", "status", "stopDate")}
            if found["status"] != "RUNNING":
                raise StepFailed(f"execution {arn} ended {found['status']}: {found.get('error')}")

    def execute_aws_api(self, inputs, _):
        """Makes one request."""
        service, api = inputs.pop("Service"), inputs.pop("Api")
        client = boto3.client(service)
        method = {operation: method for method, operation in client.meta.method_to_api_mapping.items()}[api]
        return called(getattr(client, method), **inputs)

    def wait_for_aws_resource_property(self, inputs, step):
        """Makes a request until what is selected has a desired value."""
        selector, desired = inputs.pop("PropertySelector"), inputs.pop("DesiredValues")
        for _ in self.looks(step):
            if select(selector, self.execute_aws_api(dict(inputs), step)) in desired:
                return {}

    def looks(self, step):
        """As many looks as there is time for."""
        timeout = int(step.get("timeoutSeconds", TIMEOUT_SECONDS_DEFAULT))
        for _ in range(timeout // self.SECONDS_BETWEEN_LOOKS):
            yield
            self.pause(self.SECONDS_BETWEEN_LOOKS)
        raise StepFailed(f"not within {timeout} seconds", "TimedOut")


def checked(declared, given):
    """The values of parameters, if they are as declared."""
    if unknown := sorted(set(given) - set(declared)):
        raise Refused(f"{', '.join(unknown)}: the document has no such parameter")
    values = {}
    for name, parameter in declared.items():
        if name not in given and "default" not in parameter:
            raise Refused(f"{name} is missing")
        value = given.get(name, parameter.get("default"))
        if parameter["type"] != "String":
            raise NotImplementedError(f"parameters of type {parameter['type']}")
        if len(value) > min(LONGEST_VALUE, parameter.get("maxChars", LONGEST_VALUE)):
            raise Refused(f"{name} is too long: {len(value)} characters")
        if not re.fullmatch(parameter.get("allowedPattern", r"[\s\S]*"), value):
            raise Refused(f"{name} does not match {parameter['allowedPattern']}")
        values[name] = value
    return values


def rendered(node, known):
    """With values in the place of references. What is nothing but a reference keeps its value's type; a value is not looked into again."""
    if isinstance(node, dict):
        return {key: rendered(value, known) for key, value in node.items()}
    if isinstance(node, list):
        return [rendered(one, known) for one in node]
    if not isinstance(node, str):
        return node
    if whole := REFERENCE.fullmatch(node):
        return known[whole[1]]
    return REFERENCE.sub(lambda found: str(known[found[1]]), node)


def select(selector, answer):
    """What a selector such as `$.Payload.arn` or `$.Found[0].Status` finds. JMESPath writes such paths the same way."""
    if not re.fullmatch(r"\$(\.\w+(\[\d+\])?)+", selector):
        raise NotImplementedError(f"the selector {selector}")
    return jmespath.search(selector.removeprefix("$."), answer)


def selected(output, answer):
    """The value of a declared output; the step fails when it is of another type."""
    value = select(output["Selector"], answer)
    if not isinstance(value, TYPES[output["Type"]]):
        raise StepFailed(f"output {output['Name']} is {value!r}, expected {output['Type']}")
    return value


def called(method, **parameters):
    """What a request gives; one that is refused fails the step."""
    try:
        return method(**parameters)
    except ClientError as error:
        raise StepFailed(str(error)) from error
