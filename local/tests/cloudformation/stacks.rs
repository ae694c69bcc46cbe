//! Stacks: the order of things, what becomes of a part that cannot be made, deletion.

use std::time::Duration;

use local_cloud::cloudformation::StackError;
use local_cloud::lambda::{FunctionError, FunctionKind};
use serde_json::{Value, json};

use crate::{ask, cloud, create, parameter, root};

const ROLE: &str = r#"
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{Effect: Allow, Principal: {Service: [lambda.amazonaws.com, states.amazonaws.com]}, Action: "sts:AssumeRole"}]
"#;

#[tokio::test(start_paused = true)]
async fn what_is_named_is_made_first() {
    let template = format!(
        "
Resources:
  Last: {{Type: 'AWS::SQS::Queue', DependsOn: [First, Hello]}}
  Hello:
    Type: AWS::Lambda::Function
    Properties:
      Code: hello.zip
      Role: !GetAtt Role.Arn
      Environment: {{Variables: {{QUEUE: !Ref First, TIMEOUT: 3}}}}
      Timeout: '60'
  First: {{Type: 'AWS::SQS::Queue'}}
{ROLE}"
    );
    let cloud = cloud();
    let stack = create(&cloud, &template, &[]).await.unwrap();
    let order: Vec<&str> = stack
        .resources()
        .iter()
        .map(|resource| resource.logical_id())
        .collect();
    assert_eq!(order, ["First", "Role", "Hello", "Last"]);
    let function = cloud
        .lambda()
        .settings(&root(), stack.resource("Hello").unwrap().physical_id())
        .unwrap();
    assert_eq!(function.timeout.as_secs(), 60);
    assert_eq!(function.environment["TIMEOUT"], "3");
    assert_eq!(
        function.environment["QUEUE"],
        stack.resource("First").unwrap().physical_id()
    );
    let role = stack.resource("Role").unwrap().physical_id();
    assert_eq!(
        function.role,
        Some(format!("arn:aws:iam::123456789012:role/{role}"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_part_that_cannot_be_made_takes_the_others_back() {
    let template = format!(
        "
Resources:
  Kept: {{Type: 'AWS::SSM::Parameter', DeletionPolicy: Retain, Properties: {{Name: /kept, Type: String, Value: a}}}}
  Gone: {{Type: 'AWS::SSM::Parameter', DeletionPolicy: RetainExceptOnCreate, Properties: {{Name: /gone, Type: String, Value: b}}}}
  Topic: {{Type: 'AWS::SNS::Topic', Properties: {{TopicName: told}}}}
  Hello: {{Type: 'AWS::Lambda::Function', DependsOn: [Kept, Gone, Topic], Properties: {{Code: missing.zip, Role: !GetAtt Role.Arn}}}}
{ROLE}"
    );
    let cloud = cloud();
    let error = create(&cloud, &template, &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "stack `orders`: resource `Hello` (AWS::Lambda::Function) CREATE_FAILED: InvalidRequest: `missing.zip` is \
         not there; ROLLBACK_COMPLETE"
    );
    assert_eq!(parameter(&cloud, "/kept").await, "a");
    let there = ask(
        &cloud,
        "ssm",
        "AmazonSSM.GetParameters",
        json!({ "Names": ["/kept", "/gone"] }),
    )
    .await;
    assert_eq!(there["InvalidParameters"], json!(["/gone"]));
    let topics = ask(
        &cloud,
        "sns",
        "AmazonSimpleNotificationService.ListTopics",
        json!({}),
    )
    .await;
    assert_eq!(topics["Topics"], json!([]));
    assert!(cloud.cloudformation().stack(&root(), "orders").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_is_quoted() {
    let template = "
Resources:
  One: {Type: 'AWS::SSM::Parameter', Properties: {Name: /one, Type: String, Value: a}}
  Same: {Type: 'AWS::SSM::Parameter', DependsOn: One, Properties: {Name: /one, Type: String, Value: b}}
";
    let error = create(&cloud(), template, &[]).await.unwrap_err();
    assert!(
        error.to_string().starts_with(
            "stack `orders`: resource `Same` (AWS::SSM::Parameter) CREATE_FAILED: ParameterAlreadyExists: "
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn deleting_a_stack_removes_all_but_what_is_retained_or_protected() {
    let table = "
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      BillingMode: PAY_PER_REQUEST
";
    let template = format!(
        "
Resources:
  Kept:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    Properties:
      TableName: kept
{table}
  Protected:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: protected
      DeletionProtectionEnabled: true
{table}
  Key: {{Type: 'AWS::KMS::Key', Properties: {{PendingWindowInDays: 7}}}}
  Alias: {{Type: 'AWS::KMS::Alias', Properties: {{AliasName: alias/orders, TargetKeyId: !Ref Key}}}}
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {{source: [aws.rds]}}
      Targets: [{{Id: a, Arn: 'arn:aws:sns:eu-west-1:123456789012:told'}}]
"
    );
    let cloud = cloud();
    create(&cloud, &template, &[]).await.unwrap();
    let error = cloud
        .cloudformation()
        .delete_stack(&root(), "orders")
        .await
        .unwrap_err();
    let StackError::NotDeleted { left, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(
        left[0].starts_with("`Protected` (AWS::DynamoDB::Table): "),
        "{left:?}"
    );
    let tables = ask(
        &cloud,
        "dynamodb",
        "DynamoDB_20120810.ListTables",
        json!({}),
    )
    .await;
    assert_eq!(tables["TableNames"], json!(["kept", "protected"]));
    let rules = ask(&cloud, "events", "AWSEvents.ListRules", json!({})).await;
    assert_eq!(rules["Rules"], json!([]));
    let aliases = ask(&cloud, "kms", "TrentService.ListAliases", json!({})).await;
    assert_eq!(aliases["Aliases"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_one_stack_until_it_is_deleted() {
    let template = "Resources: {Queue: {Type: 'AWS::SQS::Queue'}}";
    let cloud = cloud();
    create(&cloud, template, &[]).await.unwrap();
    let again = create(&cloud, template, &[]).await.unwrap_err();
    assert_eq!(again.to_string(), "Stack [orders] already exists");
    cloud
        .cloudformation()
        .delete_stack(&root(), "orders")
        .await
        .unwrap();
    cloud
        .cloudformation()
        .delete_stack(&root(), "orders")
        .await
        .unwrap();
    create(&cloud, template, &[]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_definition_has_a_value_for_each_placeholder_and_a_placeholder_for_each_value() {
    let template = |substitutions: &str| {
        format!(
            "
Resources:
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: orders
      RoleArn: !GetAtt Role.Arn
      DefinitionS3Location: one.json
      DefinitionSubstitutions: {substitutions}
      LoggingConfiguration: {{Level: ALL, IncludeExecutionData: false}}
{ROLE}"
        )
    };
    let refused = async |substitutions: &str| {
        create(&cloud(), &template(substitutions), &[])
            .await
            .unwrap_err()
            .to_string()
    };
    assert!(refused("{}").await.contains(
        "the definition's placeholder ${StepArn} has no value in DefinitionSubstitutions"
    ));
    assert!(
        refused("{StepArn: 'arn:aws:lambda:eu-west-1:123456789012:function:a', OtherArn: b}")
            .await
            .contains(
                "DefinitionSubstitutions.OtherArn: the definition has no placeholder ${OtherArn}"
            )
    );
    let cloud = cloud();
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:a";
    let stack = create(&cloud, &template(&format!("{{StepArn: '{arn}'}}")), &[])
        .await
        .unwrap();
    let machine = json!({ "stateMachineArn": stack.resource("Machine").unwrap().physical_id() });
    let described = ask(
        &cloud,
        "states",
        "AWSStepFunctions.DescribeStateMachine",
        machine,
    )
    .await;
    assert!(described["definition"].as_str().unwrap().contains(arn));
    assert_eq!(
        described["loggingConfiguration"]["includeExecutionData"],
        json!(false)
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_a_function_fails_on_waits_in_the_dead_letter_queue() {
    let permitted = ROLE.to_owned()
        + r#"
      Policies:
        - PolicyName: letters
          PolicyDocument:
            Version: "2012-10-17"
            Statement: [{Effect: Allow, Action: "sqs:SendMessage", Resource: !GetAtt Letters.Arn}]
"#;
    assert_eq!(letters_after_a_failure(&permitted).await.len(), 1);
    assert_eq!(
        letters_after_a_failure(ROLE).await,
        Vec::<String>::new(),
        "its role may not send"
    );
    let letter: Value =
        serde_json::from_str(&letters_after_a_failure(&permitted).await[0]).unwrap();
    assert_eq!(letter["requestPayload"], json!({ "n": 1 }));
    assert_eq!(letter["requestContext"]["approximateInvokeCount"], 2);
    assert_eq!(letter["responsePayload"]["errorType"], "Defect");
}

/// What waits in the queue after a function with this role failed on an event.
async fn letters_after_a_failure(role: &str) -> Vec<String> {
    let template = format!(
        "
Resources:
  Letters: {{Type: 'AWS::SQS::Queue', Properties: {{QueueName: letters}}}}
  Hello: {{Type: 'AWS::Lambda::Function', Properties: {{FunctionName: hello, Code: hello.zip, Role: !GetAtt Role.Arn}}}}
  Events:
    Type: AWS::Lambda::EventInvokeConfig
    Properties:
      FunctionName: !Ref Hello
      Qualifier: $LATEST
      MaximumRetryAttempts: 1
      DestinationConfig: {{OnFailure: {{Destination: !GetAtt Letters.Arn}}}}
{role}"
    );
    let cloud = cloud();
    create(&cloud, &template, &[]).await.unwrap();
    let settings = cloud.lambda().settings(&root(), "hello").unwrap();
    let failing =
        FunctionKind::in_process(|_| async { Err(FunctionError::new("Defect", "it is broken")) });
    cloud.add_function(settings, failing).unwrap();
    let event = json!({ "n": 1 });
    cloud
        .lambda()
        .invoke_event(&root(), "hello", event)
        .unwrap();
    cloud.world().clock().sleep(Duration::from_secs(600)).await;
    cloud.sqs().messages("letters")
}

#[tokio::test(start_paused = true)]
async fn an_event_that_reaches_no_function_waits_in_the_dead_letter_queue_of_its_target() {
    let template = format!(
        "
Resources:
  Letters: {{Type: 'AWS::SQS::Queue', Properties: {{QueueName: letters}}}}
  Hello: {{Type: 'AWS::Lambda::Function', Properties: {{FunctionName: hello, Code: hello.zip, Role: !GetAtt Role.Arn}}}}
  WithoutPermission:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {{source: [orders]}}
      Targets: [{{Id: a, Arn: !GetAtt Hello.Arn, DeadLetterConfig: {{Arn: !GetAtt Letters.Arn}}}}]
{ROLE}"
    );
    let cloud = cloud();
    create(&cloud, &template, &[]).await.unwrap();
    let event = json!({ "Source": "orders", "DetailType": "placed", "Detail": "{\"n\": 1}" });
    ask(
        &cloud,
        "events",
        "AWSEvents.PutEvents",
        json!({ "Entries": [event] }),
    )
    .await;
    cloud.world().clock().sleep(Duration::from_secs(1)).await;
    let letters = cloud.sqs().messages("letters");
    assert_eq!(letters.len(), 1);
    let letter: Value = serde_json::from_str(&letters[0]).unwrap();
    assert_eq!(letter["detail"], json!({ "n": 1 }));
}
