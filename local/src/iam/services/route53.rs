//! Route 53. Zones and changes have no region and no account in their ARNs.

use http::Method;
use roxmltree::Document;

use super::Call;
use crate::iam::evaluate::Question;

pub(super) fn questions(call: &Call<'_>) -> Option<Vec<Question>> {
    let path = call.request.uri.path().trim_matches('/').to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    let zone = |id: &str| format!("arn:aws:route53:::hostedzone/{id}");
    Some(vec![match (&call.request.method, parts.as_slice()) {
        (&Method::POST, ["2013-04-01", "hostedzone"]) => call.ask("route53:CreateHostedZone", "*"),
        (&Method::GET, ["2013-04-01", "hostedzone", id, "rrset"]) => {
            call.ask("route53:ListResourceRecordSets", zone(id))
        }
        (&Method::POST, ["2013-04-01", "hostedzone", id, "rrset"]) => {
            changes(call, call.ask("route53:ChangeResourceRecordSets", zone(id)))?
        }
        (&Method::GET, ["2013-04-01", "change", id]) => call.ask(
            "route53:GetChange",
            format!("arn:aws:route53:::change/{id}"),
        ),
        _ => return None,
    }])
}

/// What is changed, by the service's own condition keys ("Using IAM policy conditions for fine-grained access control").
fn changes(call: &Call<'_>, mut question: Question) -> Option<Question> {
    let text = std::str::from_utf8(&call.request.body).ok()?;
    let document = Document::parse(text).ok()?;
    for (element, key) in [
        (
            "Name",
            "route53:ChangeResourceRecordSetsNormalizedRecordNames",
        ),
        ("Type", "route53:ChangeResourceRecordSetsRecordTypes"),
        ("Action", "route53:ChangeResourceRecordSetsActions"),
    ] {
        let named = document
            .descendants()
            .filter(|node| node.tag_name().name() == element);
        for value in named.filter_map(|node| node.text()) {
            let value = match element {
                "Name" => value.trim_end_matches('.').to_ascii_lowercase(),
                _ => value.to_owned(),
            };
            question.context.add(key, value);
        }
    }
    Some(question)
}
