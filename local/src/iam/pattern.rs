//! Patterns: `*`, `?` and policy variables, as resources and condition values have them.
//!
//! `*` stands for any characters and `?` for one, but neither reaches over a colon
//! from one part of an ARN into the next. A variable is replaced by the request's
//! value, which stands for itself: a tag whose value is `*` opens nothing. Without a
//! value and without a default the pattern fits nothing ("Policy variables with no
//! value"); a key with several values has none that could stand there.

use super::context::Context;

/// The parts of an ARN.
const ARN_PARTS: usize = 6;

/// Text with wildcards and variables in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    /// As it was written.
    source: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Token(Token),
    Variable {
        key: String,
        default: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Character(char),
    AnyOne,
    AnyRun,
}

impl Pattern {
    /// Reads wildcards and variables.
    ///
    /// # Errors
    /// What is wrong with a variable.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once("${") {
            pieces.extend(tokens(before).map(Piece::Token));
            let (inside, behind) = variable_end(after)
                .ok_or_else(|| format!("\"{source}\" has a variable without its end"))?;
            pieces.push(variable(inside)?);
            rest = behind;
        }
        pieces.extend(tokens(rest).map(Piece::Token));
        Ok(Self {
            pieces,
            source: source.to_owned(),
        })
    }

    /// Wildcards only: actions know no variables. Without regard to case.
    pub(super) fn action(source: &str) -> Self {
        let lower = source.to_ascii_lowercase();
        Self {
            pieces: tokens(&lower).map(Piece::Token).collect(),
            source: source.to_owned(),
        }
    }

    /// As it was written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether this text fits, wildcards reaching anywhere.
    pub(super) fn fits(&self, text: &str, context: &Context) -> bool {
        self.tokens(context)
            .is_some_and(|tokens| fits(&tokens, &characters(text)))
    }

    /// Whether this ARN fits, part by part. `*` alone fits every ARN.
    pub(super) fn fits_arn(&self, arn: &str, context: &Context) -> bool {
        let Some(tokens) = self.tokens(context) else {
            return false;
        };
        if tokens == [Token::AnyRun] {
            return true;
        }
        let patterns: Vec<_> = tokens
            .splitn(ARN_PARTS, |token| *token == Token::Character(':'))
            .collect();
        let parts: Vec<_> = arn.splitn(ARN_PARTS, ':').map(characters).collect();
        patterns.len() == ARN_PARTS
            && parts.len() == ARN_PARTS
            && patterns
                .into_iter()
                .zip(parts)
                .all(|(pattern, part)| fits(pattern, &part))
    }

    /// The text with its variables replaced; wildcards stand for themselves. For operators without them.
    pub(super) fn literal(&self, context: &Context) -> Option<String> {
        let text = |token: &Token| match token {
            Token::Character(character) => *character,
            Token::AnyOne => '?',
            Token::AnyRun => '*',
        };
        self.tokens(context)
            .map(|tokens| tokens.iter().map(text).collect())
    }

    fn tokens(&self, context: &Context) -> Option<Vec<Token>> {
        let mut found = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            match piece {
                Piece::Token(token) => found.push(*token),
                Piece::Variable { key, default } => {
                    let value = context.single(key).or(default.as_deref())?;
                    found.extend(value.chars().map(Token::Character));
                }
            }
        }
        Some(found)
    }
}

fn tokens(text: &str) -> impl Iterator<Item = Token> {
    text.chars().map(|character| match character {
        '*' => Token::AnyRun,
        '?' => Token::AnyOne,
        other => Token::Character(other),
    })
}

/// What is inside a variable and what is behind it; a default may hold a brace.
fn variable_end(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '\'' => quoted = !quoted,
            '}' if !quoted => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

fn variable(inside: &str) -> Result<Piece, String> {
    // `${*}`, `${?}` and `${$}` are the characters themselves.
    if let "*" | "?" | "$" = inside {
        return Ok(Piece::Token(Token::Character(
            inside.chars().next().unwrap_or_default(),
        )));
    }
    let (key, default) = match inside.split_once(',') {
        Some((key, default)) => (key, Some(default.trim())),
        None => (inside, None),
    };
    let default = default
        .map(|text| {
            text.strip_prefix('\'')
                .and_then(|text| text.strip_suffix('\''))
                .map(|text| text.replace("''", "'"))
                .ok_or_else(|| format!("the default of ${{{inside}}} must be in single quotes"))
        })
        .transpose()?;
    let key = key.trim();
    if !key.contains(':') || key.contains(char::is_whitespace) {
        return Err(format!(
            "${{{inside}}} names no condition key, such as aws:PrincipalAccount"
        ));
    }
    Ok(Piece::Variable {
        key: key.to_owned(),
        default,
    })
}

fn characters(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Goes back to the last `*` where a match fails: linear but for adversarial patterns.
fn fits(pattern: &[Token], text: &[char]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while place < text.len() {
        match pattern.get(at) {
            Some(Token::AnyRun) => {
                retry = Some((at + 1, place));
                at += 1;
                continue;
            }
            Some(Token::AnyOne) => {}
            Some(Token::Character(character)) if *character == text[place] => {}
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (at, place) = (after, from + 1);
                    continue;
                }
                None => return false,
            },
        }
        at += 1;
        place += 1;
    }
    pattern[at..].iter().all(|token| *token == Token::AnyRun)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str) -> Pattern {
        Pattern::parse(source).unwrap()
    }

    #[test]
    fn wildcards_stand_for_any_characters_or_for_one() {
        let nothing = Context::default();
        for (source, text, fitting) in [
            ("a*c", "abbbc", true),
            ("a*c", "ac", true),
            ("a?c", "ac", false),
            ("a?c", "abc", true),
            ("*b*b*", "abab", true),
            ("*b*b*", "aba", false),
            ("*", "", true),
            ("a", "A", false),
        ] {
            assert_eq!(
                pattern(source).fits(text, &nothing),
                fitting,
                "{source} {text}"
            );
        }
    }

    #[test]
    fn a_wildcard_does_not_reach_into_the_next_part_of_an_arn() {
        let nothing = Context::default();
        let arn = "arn:aws:rds:eu-west-1:123456789012:cluster:orders";
        for (source, fitting) in [
            ("arn:aws:rds:*:123456789012:cluster:*", true),
            ("arn:aws:rds:*:*:cluster:orders", true),
            ("arn:aws:rds:eu-west-1:123456789012:*", true),
            ("arn:aws:rds:*:cluster:orders", false),
            ("arn:aws:rds:*:123456789012:cluster:order", false),
            ("arn:aws:*", false),
            ("*", true),
        ] {
            assert_eq!(pattern(source).fits_arn(arn, &nothing), fitting, "{source}");
        }
    }

    #[test]
    fn a_variables_value_stands_for_itself_even_if_it_is_a_wildcard() {
        let team = |value: &str| Context::default().with("aws:PrincipalTag/team", value);
        let own = pattern("team-${aws:principaltag/team}/*");
        assert!(own.fits("team-red/x", &team("red")));
        assert!(!own.fits("team-red/x", &team("*")));
        assert!(!own.fits("team-red/x", &Context::default()));
        assert!(pattern("${aws:PrincipalTag/team, 'none'}").fits("none", &Context::default()));
        assert!(pattern("${*}").fits("*", &Context::default()));
        assert!(!pattern("${*}").fits("a", &Context::default()));
    }

    #[test]
    fn a_key_with_several_values_cannot_stand_in_a_pattern() {
        let both = Context::default()
            .with("aws:TagKeys", "a")
            .with("aws:TagKeys", "b");
        assert!(!pattern("${aws:TagKeys}").fits("a", &both));
    }

    #[test]
    fn a_broken_variable_is_refused() {
        for source in ["${aws:x", "${team}", "${aws:x, none}", "${a b:c}"] {
            assert!(Pattern::parse(source).is_err(), "{source}");
        }
    }
}
