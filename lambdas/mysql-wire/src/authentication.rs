//! The greeting, and proving a password without sending it.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::packet::{self, Reader};
use crate::{Error, Link, Login};

/// What this client can do, by the protocol's bits.
mod can {
    pub(super) const LONG_PASSWORD: u32 = 1;
    pub(super) const CONNECT_WITH_DATABASE: u32 = 1 << 3;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const TLS: u32 = 1 << 11;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(super) const MULTI_RESULTS: u32 = 1 << 17;
    pub(super) const PLUGIN_AUTH: u32 = 1 << 19;
    /// A login with an expired password is let in, and can do little: it was accepted all the same.
    pub(super) const EXPIRED_PASSWORDS: u32 = 1 << 22;
}

const LONGEST_PACKET: u32 = 16 << 20;
/// utf8mb4_general_ci: a character set that MySQL and MariaDB number alike.
const UTF8MB4: u8 = 45;

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// MySQL 8's own.
    CachingSha2,
    /// Before MySQL 8, and MariaDB's.
    Native,
    /// Of MySQL 5.6. A server also names it for accounts that do not exist, so that nobody learns which do.
    Sha256,
}

impl Method {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"caching_sha2_password" => Some(Self::CachingSha2),
            b"mysql_native_password" => Some(Self::Native),
            b"sha256_password" => Some(Self::Sha256),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::CachingSha2 => "caching_sha2_password",
            Self::Native => "mysql_native_password",
            Self::Sha256 => "sha256_password",
        }
    }

    /// What shows that one has the password, for this challenge.
    pub(crate) fn proof(
        self,
        password: &str,
        challenge: &[u8],
        link: Link,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let proof = match self {
            Self::Sha256 => return whole(password, link),
            _ if password.is_empty() => Vec::new(),
            Self::CachingSha2 => {
                let once = Sha256::digest(password);
                let twice = Sha256::new().chain_update(Sha256::digest(once));
                xor(&once, &twice.chain_update(challenge).finalize())
            }
            Self::Native => {
                let once = Sha1::digest(password);
                let mask = Sha1::new().chain_update(challenge);
                xor(&once, &mask.chain_update(Sha1::digest(once)).finalize())
            }
        };
        Ok(Zeroizing::new(proof))
    }
}

/// The password itself, where nobody can listen.
pub(crate) fn whole(password: &str, link: Link) -> Result<Zeroizing<Vec<u8>>, Error> {
    if link == Link::Bare {
        return Err(Error::Protocol(
            "the server wants the whole password, which goes over TLS only".to_owned(),
        ));
    }
    Ok(Zeroizing::new([password.as_bytes(), &[0]].concat()))
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter()
        .zip(other)
        .map(|(one, other)| one ^ other)
        .collect()
}

/// What a server says first.
pub(crate) struct Greeting {
    can: u32,
    method: Option<Method>,
    pub(crate) challenge: Vec<u8>,
}

impl Greeting {
    pub(crate) fn read(content: &[u8]) -> Result<Self, Error> {
        if content.first() == Some(&0xff) {
            return Err(packet::refusal(content).into());
        }
        let mut reader = Reader::new(content);
        if reader.byte()? != 10 {
            return Err(Error::Protocol("not a MySQL server".to_owned()));
        }
        reader.until_zero(); // the version
        reader.bytes(4)?; // the session's number
        let mut challenge = reader.bytes(8)?.to_vec();
        reader.byte()?;
        let low = reader.number()?;
        reader.bytes(3)?; // character set, status
        let high = reader.number()?;
        let length = usize::from(reader.byte()?);
        reader.bytes(10)?;
        let rest = reader.bytes(length.saturating_sub(8).max(13))?;
        challenge.extend(rest.iter().take(12));
        Ok(Self {
            can: u32::from(low) | u32::from(high) << 16,
            method: Method::named(reader.until_zero()),
            challenge,
        })
    }

    pub(crate) fn offers_tls(&self) -> bool {
        self.can & can::TLS != 0
    }

    /// The server's own, or one it will ask to leave for the account's.
    pub(crate) fn method(&self) -> Method {
        self.method.unwrap_or(Method::Native)
    }
}

/// The beginning of a response: what this client can do.
fn abilities(login: &Login<'_>, tls: bool) -> Vec<u8> {
    let mut able = can::LONG_PASSWORD
        | can::PROTOCOL_41
        | can::TRANSACTIONS
        | can::SECURE_CONNECTION
        | can::MULTI_RESULTS
        | can::PLUGIN_AUTH
        | can::EXPIRED_PASSWORDS;
    if login.database.is_some() {
        able |= can::CONNECT_WITH_DATABASE;
    }
    if tls {
        able |= can::TLS;
    }
    let mut content = able.to_le_bytes().to_vec();
    content.extend(LONGEST_PACKET.to_le_bytes());
    content.push(UTF8MB4);
    content.extend([0; 23]);
    content
}

/// The request to go on under TLS.
pub(crate) fn tls_request(login: &Login<'_>) -> Vec<u8> {
    abilities(login, true)
}

/// The response to the greeting.
pub(crate) fn response(login: &Login<'_>, tls: bool, method: Method, proof: &[u8]) -> Vec<u8> {
    let mut content = abilities(login, tls);
    content.extend(login.user.as_bytes());
    content.push(0);
    content.push(u8::try_from(proof.len()).unwrap_or(0));
    content.extend(proof);
    if let Some(database) = login.database {
        content.extend(database.as_bytes());
        content.push(0);
    }
    content.extend(method.name().as_bytes());
    content.push(0);
    content
}

/// The method that the server wants for this account, and its challenge.
pub(crate) fn switch(content: &[u8]) -> Result<(Method, Vec<u8>), Error> {
    let mut reader = Reader::new(content.get(1..).unwrap_or_default());
    let name = reader.until_zero();
    let method = Method::named(name).ok_or_else(|| {
        Error::Protocol(format!(
            "the account's way to log in, `{}`, is none of passwords",
            String::from_utf8_lossy(name)
        ))
    })?;
    Ok((method, reader.rest().iter().copied().take(20).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_proof_can_be_undone_by_who_has_the_stored_hash() {
        let challenge = b"abcdefghijklmnopqrst";
        let proof = Method::Native
            .proof("of-the-app", challenge, Link::Bare)
            .unwrap();
        // The server holds the hash's hash: it takes its mask off, hashes, and compares.
        let stored = Sha1::digest(Sha1::digest("of-the-app"));
        let mask = Sha1::new().chain_update(challenge).chain_update(stored);
        assert_eq!(Sha1::digest(xor(&proof, &mask.finalize())), stored);

        let proof = Method::CachingSha2
            .proof("of-the-app", challenge, Link::Bare)
            .unwrap();
        let stored = Sha256::digest(Sha256::digest("of-the-app"));
        let mask = Sha256::new().chain_update(stored).chain_update(challenge);
        assert_eq!(Sha256::digest(xor(&proof, &mask.finalize())), stored);
    }

    #[test]
    fn a_password_is_no_part_of_its_proof() {
        for method in [Method::Native, Method::CachingSha2] {
            let proof = method
                .proof("of-the-app", b"abcdefghijklmnopqrst", Link::Bare)
                .unwrap();
            assert!(proof.len() >= 20 && !hex(&proof).contains(&hex(b"of-the-app")));
        }
    }

    #[test]
    fn a_whole_password_goes_over_no_bare_network() {
        assert!(Method::Sha256.proof("of-the-app", b"", Link::Bare).is_err());
        assert!(Method::Sha256.proof("of-the-app", b"", Link::Tls).is_ok());
    }

    #[test]
    fn what_is_no_mysql_server_is_told() {
        assert!(matches!(
            Greeting::read(b"SSH-2.0-OpenSSH"),
            Err(Error::Protocol(_))
        ));
        assert!(matches!(Greeting::read(b""), Err(Error::Protocol(_))));
        let busy = Greeting::read(b"\xff\x10\x04Too many connections");
        assert!(matches!(busy, Err(Error::Refused(refusal)) if refusal.number == 1040));
    }

    #[test]
    fn a_way_to_log_in_that_is_none_of_passwords_is_refused() {
        let told = switch(b"\xfemysql_clear_password\0").unwrap_err();
        assert!(told.to_string().contains("mysql_clear_password"), "{told}");
    }
}
