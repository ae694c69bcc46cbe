//! What functions, conditions and pseudo parameters come to.

use crate::{cloud, create, parameter};

const TEMPLATE: &str = r#"
Parameters:
  Stage: {Type: String, Default: staging}
  Zones: {Type: CommaDelimitedList, Default: "a, b"}
Mappings:
  Sizes: {staging: {Memory: 256}, production: {Memory: 512}}
Conditions:
  IsProduction: !Equals [!Ref Stage, production]
  IsStaging: !And [!Not [!Condition IsProduction], !Or [!Equals [!Ref Stage, staging], !Equals [1, 2]]]
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties: {QueueName: !Sub "${AWS::StackName}-letters"}
  Extra:
    Type: AWS::SQS::Queue
    Condition: IsProduction
  All:
    Type: AWS::SSM::Parameter
    Properties:
      Name: /all
      Type: String
      Description: !If [IsProduction, careful, !Ref "AWS::NoValue"]
      Value: !Join
        - "|"
        - - !Ref Stage
          - !Select [1, !Ref Zones]
          - !Select [0, !Split ["-", "x-y"]]
          - !FindInMap [Sizes, !Ref Stage, Memory]
          - !If [IsStaging, yes, no]
          - !Sub ["${Queue.Arn} ${word} ${!Kept} ${AWS::Region} ${AWS::AccountId}", {word: !Ref Stage}]
          - Fn::Base64: hi
Outputs:
  Arn: {Value: !GetAtt Queue.Arn, Export: {Name: !Sub "${AWS::StackName}-arn"}}
  Production: {Condition: IsProduction, Value: !Ref Extra}
"#;

#[tokio::test(start_paused = true)]
async fn functions_give_what_they_give_on_aws() {
    let cloud = cloud();
    let stack = create(&cloud, TEMPLATE, &[]).await.unwrap();
    let arn = "arn:aws:sqs:eu-west-1:123456789012:orders-letters";
    assert_eq!(
        parameter(&cloud, "/all").await,
        format!("staging|b|x|256|yes|{arn} staging ${{Kept}} eu-west-1 123456789012|aGk=")
    );
    assert_eq!(stack.outputs().get("Arn").map(String::as_str), Some(arn));
    assert!(!stack.outputs().contains_key("Production"));
    assert!(stack.resource("Extra").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_holds_makes_what_it_stands_for() {
    let cloud = cloud();
    let stack = create(&cloud, TEMPLATE, &[("Stage", "production")])
        .await
        .unwrap();
    let extra = stack.resource("Extra").unwrap().physical_id();
    assert_eq!(stack.outputs()["Production"], extra);
    let name = extra.rsplit('/').next().unwrap();
    let chance = name.strip_prefix("orders-Extra-").unwrap();
    assert_eq!(chance.len(), 12);
    assert!(
        chance
            .chars()
            .all(|character| character.is_ascii_alphanumeric()),
        "{chance}"
    );
}
