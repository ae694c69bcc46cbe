//! The Query protocol's form, as the nested value it stands for.
//!
//! `Tags.member.1.Key=a` is a list of structures, `Attributes.entry.1.key=a` with
//! `Attributes.entry.1.value=b` is a map.

use std::collections::BTreeMap;

use serde_json::Value;

/// A member while its parts are still being gathered.
#[derive(Default)]
struct Node {
    text: Option<String>,
    children: BTreeMap<String, Node>,
}

pub(super) fn read(body: &[u8]) -> Value {
    let mut root = Node::default();
    for (name, value) in form_urlencoded::parse(body) {
        let mut node = &mut root;
        for part in name.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.text = Some(value.into_owned());
    }
    root.into_value()
}

impl Node {
    fn into_value(mut self) -> Value {
        if self.children.is_empty() {
            return Value::String(self.text.unwrap_or_default());
        }
        if self.children.len() == 1 {
            if let Some(members) = self.children.remove("member") {
                return Value::Array(
                    members
                        .numbered()
                        .into_iter()
                        .map(Self::into_value)
                        .collect(),
                );
            }
            if let Some(entries) = self.children.remove("entry") {
                return Value::Object(
                    entries
                        .numbered()
                        .into_iter()
                        .filter_map(Self::into_entry)
                        .collect(),
                );
            }
        }
        Value::Object(
            self.children
                .into_iter()
                .map(|(name, node)| (name, node.into_value()))
                .collect(),
        )
    }

    /// The children in the order of their numbers.
    fn numbered(self) -> Vec<Self> {
        let number =
            |(name, node): (String, Self)| name.parse::<u32>().ok().map(|number| (number, node));
        let mut numbered: Vec<_> = self.children.into_iter().filter_map(number).collect();
        numbered.sort_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, node)| node).collect()
    }

    /// SNS writes `key`/`value` for some maps and `Name`/`Value` for others.
    fn into_entry(mut self) -> Option<(String, Value)> {
        let key = self
            .children
            .remove("key")
            .or_else(|| self.children.remove("Name"))?;
        let value = self
            .children
            .remove("value")
            .or_else(|| self.children.remove("Value"))?;
        Some((key.text?, value.into_value()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_become_lists_in_the_order_of_their_numbers() {
        let body =
            b"Action=X&Tags.member.10.Key=ten&Tags.member.2.Key=two&Tags.member.2.Value=a+b%26";
        let value = read(body);
        assert_eq!(
            value,
            json!({ "Action": "X", "Tags": [{ "Key": "two", "Value": "a b&" }, { "Key": "ten" }] })
        );
    }

    #[test]
    fn entries_become_maps() {
        let value = read(b"Attributes.entry.1.key=FifoTopic&Attributes.entry.1.value=true");
        assert_eq!(value, json!({ "Attributes": { "FifoTopic": "true" } }));
        let value =
            read(b"A.entry.1.Name=n&A.entry.1.Value.DataType=String&A.entry.1.Value.StringValue=v");
        assert_eq!(
            value,
            json!({ "A": { "n": { "DataType": "String", "StringValue": "v" } } })
        );
    }
}
