//! What the cloud has written down, as text, to search for what must not be there.

/// A text somebody could read later, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedText {
    /// Such as `logs /aws/lambda/plan` or `sns arn:aws:sns:...`.
    pub place: String,
    /// The text itself.
    pub text: String,
}

impl RecordedText {
    pub(crate) fn new(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            text: text.into(),
        }
    }
}
