//! `GetRandomPassword`.

use crate::fields::Fields;
use crate::randomness::Randomness;
use crate::request::ApiError;

const LENGTH_DEFAULT: i64 = 32;
const LENGTH_MAX: i64 = 4_096;

const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const NUMBERS: &str = "0123456789";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// A password as asked for.
///
/// # Errors
/// `InvalidParameterException` when no such password exists.
pub(super) fn random_password(
    fields: Fields<'_>,
    randomness: &Randomness,
) -> Result<String, ApiError> {
    let length = fields.integer("PasswordLength")?.unwrap_or(LENGTH_DEFAULT);
    if !(1..=LENGTH_MAX).contains(&length) {
        return Err(super::invalid_parameter(
            "PasswordLength must be between 1 and 4096.",
        ));
    }
    let length = usize::try_from(length).unwrap_or_default();
    let alphabets = alphabets(fields)?;
    let every_type = fields
        .flag_if_given("RequireEachIncludedType")?
        .unwrap_or(true);
    if every_type && length < alphabets.len() {
        return Err(super::invalid_parameter(
            "Password length is too short based on the required types.",
        ));
    }
    let all: Vec<char> = alphabets.concat();
    let pick = |alphabet: &[char]| alphabet.get(randomness.below(alphabet.len())).copied();
    let mut password: Vec<char> = Vec::with_capacity(length);
    if every_type {
        password.extend(alphabets.iter().filter_map(|alphabet| pick(alphabet)));
    }
    while password.len() < length {
        password.extend(pick(&all));
    }
    // The required characters came first; no place in the password may tell its type.
    for index in (1..password.len()).rev() {
        password.swap(index, randomness.below(index + 1));
    }
    Ok(password.into_iter().collect())
}

/// The types of characters that are included, without the excluded characters.
fn alphabets(fields: Fields<'_>) -> Result<Vec<Vec<char>>, ApiError> {
    let excluded = fields.text("ExcludeCharacters")?.unwrap_or_default();
    let types = [
        (LOWERCASE, !fields.flag("ExcludeLowercase")?),
        (UPPERCASE, !fields.flag("ExcludeUppercase")?),
        (NUMBERS, !fields.flag("ExcludeNumbers")?),
        (PUNCTUATION, !fields.flag("ExcludePunctuation")?),
        (" ", fields.flag("IncludeSpace")?),
    ];
    let included = types.into_iter().filter(|(_, included)| *included);
    let alphabets: Vec<Vec<char>> = included
        .map(|(characters, _)| {
            characters
                .chars()
                .filter(|character| !excluded.contains(*character))
                .collect()
        })
        .filter(|alphabet: &Vec<char>| !alphabet.is_empty())
        .collect();
    if alphabets.is_empty() {
        return Err(super::invalid_parameter(
            "A password can't be made of no characters.",
        ));
    }
    Ok(alphabets)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn password(request: &serde_json::Value) -> Result<String, ApiError> {
        random_password(Fields::new(request), &Randomness::seeded(1))
    }

    #[test]
    fn every_included_type_is_in_it_and_nothing_excluded() {
        for length in [4, 5, 32] {
            let password =
                password(&json!({ "PasswordLength": length, "ExcludeCharacters": ":/@\"'\\ab0" }))
                    .unwrap();
            assert_eq!(password.chars().count(), length);
            for alphabet in [LOWERCASE, UPPERCASE, NUMBERS, PUNCTUATION] {
                assert!(password.contains(|c| alphabet.contains(c)), "{password}");
            }
            assert!(
                !password.contains(|c| ":/@\"'\\ab0 ".contains(c)),
                "{password}"
            );
        }
    }

    #[test]
    fn a_type_can_be_left_out_altogether() {
        let request =
            json!({ "ExcludePunctuation": true, "ExcludeNumbers": true, "ExcludeUppercase": true });
        assert!(
            password(&request)
                .unwrap()
                .chars()
                .all(|c| c.is_ascii_lowercase())
        );
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        for request in [
            json!({ "PasswordLength": 3 }),
            json!({ "PasswordLength": 0 }),
            json!({ "PasswordLength": 4_097 }),
            json!({ "ExcludeLowercase": true, "ExcludeUppercase": true, "ExcludeNumbers": true, "ExcludePunctuation": true }),
        ] {
            assert_eq!(
                password(&request).unwrap_err().code,
                "InvalidParameterException",
                "{request}"
            );
        }
        let short = json!({ "PasswordLength": 1, "RequireEachIncludedType": false });
        assert_eq!(password(&short).unwrap().len(), 1);
    }
}
