//! Timestamps as the States Language writes them: RFC 3339 with a capital `T` and
//! a capital `Z` or an offset.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// The moment a text names; `None` when it does not name one.
pub(crate) fn parse(text: &str) -> Option<OffsetDateTime> {
    if text.as_bytes().get(10) != Some(&b'T') || text.contains('z') {
        return None;
    }
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// A moment as the context object writes it: UTC, with milliseconds.
pub(crate) fn format(moment: OffsetDateTime) -> String {
    let utc = moment.to_offset(time::UtcOffset::UTC);
    utc.format(format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    ))
    .unwrap_or_default()
}
