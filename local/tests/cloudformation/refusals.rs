//! What is refused, in which words, before anything is made.

use local_cloud::cloudformation::Template;

use crate::{cloud, create};

/// Everything that is wrong with a template.
fn problems(template: &str) -> Vec<String> {
    Template::parse(template).unwrap_err().problems
}

/// The one thing that is wrong with a template.
fn problem(template: &str) -> String {
    let problems = problems(template);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].clone()
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    assert_eq!(
        problem("Resources:\n  Topic: !Rfe Name"),
        "Template format error: YAML not well-formed. (line 2: `!Rfe` is not a function this template reader has)"
    );
}

#[test]
fn a_section_that_templates_do_not_have_is_named() {
    let problem = problem("Transform: AWS::Serverless-2016-10-31\nResources: {}");
    assert!(
        problem.starts_with("Template format error: property `Transform` is unknown: expected one of AWSTemplateFormatVersion,"),
        "{problem}"
    );
}

#[test]
fn a_type_that_is_not_served_is_refused_with_its_resource() {
    assert_eq!(
        problem("Resources:\n  Db: {Type: 'AWS::RDS::DBCluster'}"),
        "Template format error: Unrecognized resource types: [AWS::RDS::DBCluster]: resource `Db`"
    );
}

#[test]
fn properties_are_refused_by_resource_and_path() {
    let template = "
Resources:
  Hello:
    Type: AWS::Lambda::Function
    Properties:
      Code: hello.zip
      Timeout: soon
      Layers: []
      Environment: {Variables: {A: [1]}, Extra: 1}
";
    assert_eq!(
        problems(template),
        [
            "resource `Hello` (AWS::Lambda::Function): property `Role` is required",
            "resource `Hello` (AWS::Lambda::Function): property `Timeout`: expected an integer, got text",
            "resource `Hello` (AWS::Lambda::Function): property `Layers` is unknown: expected one of Architectures, \
             Code, DeadLetterConfig, Description, Environment, EphemeralStorage, FunctionName, Handler, KmsKeyArn, \
             LoggingConfig, MemorySize, PackageType, ReservedConcurrentExecutions, Role, Runtime, Tags, Timeout, \
             TracingConfig, VpcConfig",
            "resource `Hello` (AWS::Lambda::Function): property `Environment.Variables.A`: expected text, got a list",
            "resource `Hello` (AWS::Lambda::Function): property `Environment.Extra` is unknown: expected one of Variables",
        ]
    );
}

#[test]
fn both_branches_of_a_choice_are_checked() {
    let template = "
Conditions: {Yes: !Equals [a, a]}
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties: {VisibilityTimeout: !If [Yes, 30, soon]}
";
    assert_eq!(
        problem(template),
        "resource `Queue` (AWS::SQS::Queue): property `VisibilityTimeout`: expected an integer, got text"
    );
}

#[test]
fn names_that_nothing_bears_are_refused_where_they_stand() {
    let template = "
Conditions:
  Big: !Equals [!Ref Queue, a]
  Odd: !Not [!Condition Missing]
Resources:
  Queue:
    Type: AWS::SQS::Queue
    DependsOn: Nobody
    Condition: Never
    Properties:
      QueueName: !Sub '${Naem}-${Other.Arn}-${!Literal}'
      VisibilityTimeout: !If [Unknown, !FindInMap [Times, a, b], 1]
      KmsMasterKeyId: !GetAtt Queue.Url
Outputs:
  Url: {Value: !Ref Que}
";
    let unresolved = |name: &str, place: &str| {
        format!(
            "Template format error: Unresolved resource dependencies [{name}] in the Resources block of the template: {place}"
        )
    };
    assert_eq!(
        problems(template),
        [
            "Template format error: Unresolved condition dependency Never: Condition of resource `Queue`".to_owned(),
            unresolved("Naem", "property `QueueName` of resource `Queue`"),
            unresolved("Other", "property `QueueName` of resource `Queue`"),
            "Template format error: Unresolved condition dependency Unknown: property `VisibilityTimeout` of resource `Queue`".to_owned(),
            "Template error: Mapping named 'Times' is not present in the 'Mappings' section of template: property `VisibilityTimeout` of resource `Queue`".to_owned(),
            "Template error: resource Queue does not support attribute type Url in Fn::GetAtt; AWS::SQS::Queue has Arn, QueueName, QueueUrl: property `KmsMasterKeyId` of resource `Queue`".to_owned(),
            unresolved("Nobody", "DependsOn of resource `Queue`"),
            unresolved("Que", "output `Url`"),
            "Template format error: Unresolved dependencies [Queue]. Cannot reference resources in the Conditions block of the template: condition `Big`".to_owned(),
            "Template format error: Unresolved condition dependency Missing: Condition of condition `Odd`".to_owned(),
        ]
    );
}

const PARAMETERS: &str = r#"
Parameters:
  Name: {Type: String, AllowedPattern: "[a-z]+", ConstraintDescription: small letters}
  Size: {Type: Number, Default: 3, MinValue: 1, MaxValue: 9}
  Mode: {Type: String, Default: a, AllowedValues: [a, b]}
  Code: {Type: String, Default: abcd, MinLength: 4, MaxLength: 5, NoEcho: true}
  Zones: {Type: CommaDelimitedList, Default: "a,b", AllowedPattern: "[a-c]"}
  Vpc: {Type: "AWS::EC2::VPC::Id", Default: vpc-1}
Resources:
  Parameter: {Type: "AWS::SSM::Parameter", Properties: {Type: String, Value: !Ref Name}}
"#;

#[tokio::test(start_paused = true)]
async fn parameters_are_refused_in_cloudformations_words() {
    let refused = async |parameters: &[(&str, &str)]| {
        let cloud = cloud();
        let error = create(&cloud, PARAMETERS, parameters)
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(
            cloud
                .cloudformation()
                .stack(&crate::root(), "orders")
                .map(|_| ()),
            None
        );
        error
    };
    assert_eq!(refused(&[]).await, "Parameters: [Name] must have values");
    assert_eq!(
        refused(&[("Name", "a"), ("Colour", "red")]).await,
        "Parameters: [Colour] do not exist in the template"
    );
    assert_eq!(
        refused(&[("Name", "A1")]).await,
        "Parameter Name failed to satisfy constraint: small letters (given: `A1`)"
    );
    let broken = [
        (
            "Size",
            "ten",
            "Parameter 'Size' must be a number (given: `ten`)",
        ),
        (
            "Size",
            "0",
            "Parameter 'Size' must be a number not less than 1 (given: `0`)",
        ),
        (
            "Size",
            "10",
            "Parameter 'Size' must be a number not greater than 9 (given: `10`)",
        ),
        (
            "Mode",
            "c",
            "Parameter 'Mode' must be one of AllowedValues: a, b (given: `c`)",
        ),
        (
            "Code",
            "abc",
            "Parameter 'Code' must contain at least 4 characters",
        ),
        (
            "Code",
            "abcdef",
            "Parameter 'Code' must contain at most 5 characters",
        ),
        (
            "Zones",
            "a,d",
            "Parameter 'Zones' must match pattern [a-c] (given: `d`)",
        ),
        (
            "Vpc",
            "net-1",
            "Parameter 'Vpc' must be an id that begins with `vpc-` (given: `net-1`)",
        ),
    ];
    for (parameter, value, expected) in broken {
        assert_eq!(
            refused(&[("Name", "a"), (parameter, value)]).await,
            expected
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_about_parameters_refuses_with_its_description() {
    let template = r#"
Parameters: {Mode: {Type: String}, Key: {Type: String, Default: ""}}
Rules:
  KeyWithMode:
    RuleCondition: !Equals [!Ref Mode, encrypted]
    Assertions:
      - {Assert: !Not [!Equals [!Ref Key, ""]], AssertDescription: encrypted needs a Key}
Resources:
  Queue: {Type: "AWS::SQS::Queue"}
"#;
    let error = create(&cloud(), template, &[("Mode", "encrypted")])
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "rule `KeyWithMode`: encrypted needs a Key"
    );
    create(&cloud(), template, &[("Mode", "plain")])
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_circle_is_refused() {
    let template = "
Resources:
  A: {Type: 'AWS::SQS::Queue', Properties: {QueueName: !GetAtt B.QueueName}}
  B: {Type: 'AWS::SQS::Queue', Properties: {QueueName: !Sub '${A}-b'}}
  C: {Type: 'AWS::SQS::Queue'}
";
    let error = create(&cloud(), template, &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Circular dependency between resources: [A, B]"
    );
}

#[tokio::test(start_paused = true)]
async fn naming_what_a_condition_leaves_out_is_refused_before_anything_is_made() {
    let template = "
Conditions: {Never: !Equals [a, b]}
Resources:
  Key: {Type: 'AWS::SQS::Queue', Condition: Never}
  Queue: {Type: 'AWS::SQS::Queue', Properties: {QueueName: !GetAtt Key.QueueName}}
";
    let cloud = cloud();
    let error = create(&cloud, template, &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Template format error: Unresolved resource dependencies [Key] in the Resources block of the template: \
         resource `Queue` names a resource that its condition leaves out"
    );
    let queues = crate::ask(&cloud, "sqs", "AmazonSQS.ListQueues", serde_json::json!({})).await;
    assert_eq!(queues["QueueUrls"], serde_json::json!([]));
}
