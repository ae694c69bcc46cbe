//! Writes the Query protocol's answers.

use std::fmt::{Display, Write as _};

use time::OffsetDateTime;
use time::macros::format_description;

use crate::request::{ApiError, Response, response};

const NAMESPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";

/// XML as it grows.
#[derive(Debug, Default)]
pub(super) struct Xml(String);

impl Xml {
    /// What this closure writes.
    pub(super) fn of(write: impl FnOnce(&mut Self)) -> Self {
        let mut xml = Self::default();
        write(&mut xml);
        xml
    }

    /// `<name>value</name>`
    pub(super) fn text(&mut self, name: &str, value: impl Display) -> &mut Self {
        let _ = write!(self.0, "<{name}>{}</{name}>", escaped(&value.to_string()));
        self
    }

    /// The same, if there is a value.
    pub(super) fn some(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// A moment, as RDS writes it.
    pub(super) fn time(&mut self, name: &str, at: OffsetDateTime) -> &mut Self {
        self.text(name, timestamp(at))
    }

    /// An element around what the closure writes.
    pub(super) fn within(&mut self, name: &str, write: impl FnOnce(&mut Self)) -> &mut Self {
        let _ = write!(self.0, "<{name}>");
        write(self);
        let _ = write!(self.0, "</{name}>");
        self
    }

    /// A list of structures.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        element: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.within(name, |xml| {
            for item in items {
                xml.within(element, |xml| write(xml, item));
            }
        })
    }

    /// A list of strings.
    pub(super) fn strings<T: Display>(
        &mut self,
        name: &str,
        element: &str,
        items: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        self.within(name, |xml| {
            for item in items {
                xml.text(element, item);
            }
        })
    }

    /// The answer to an action.
    pub(super) fn into_response(self, action: &str, request_id: &str) -> Response {
        let body = format!(
            "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{}</{action}Result>\
             <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>",
            self.0
        );
        response(200, "text/xml", body)
    }
}

/// An error as the Query protocol answers it.
pub(super) fn error_response(error: &ApiError, request_id: &str) -> Response {
    let fault = if error.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    let body = Xml::of(|xml| {
        xml.within("Error", |xml| {
            xml.text("Type", fault)
                .text("Code", &error.code)
                .text("Message", &error.message);
        })
        .text("RequestId", request_id);
    });
    response(
        error.status,
        "text/xml",
        format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\">{}</ErrorResponse>",
            body.0
        ),
    )
}

/// `2026-04-01T10:00:00.000Z`
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC)
        .format(&format)
        .unwrap_or_default()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(other),
        }
    }
    out
}
