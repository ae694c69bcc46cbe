//! As much of MySQL's client protocol as a short session needs: log in, send
//! statements as text, read rows as text.
//!
//! One session, blocking, over TCP with or without TLS or over a local socket. Whom
//! to trust is the caller's: a session trusts the authorities it is given and no
//! others, and sends a whole password over TLS or a local socket only. Compression,
//! prepared statements and files of the client are left out: a server that asks for
//! one of them is told nothing.
//!
//! The protocol is that of MySQL 4.1 and later, as
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html> describes
//! it; MariaDB speaks the same.

mod authentication;
mod packet;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use authentication::{Greeting, Method};
use packet::{Channel, Reader};

/// Why there is no session, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered, and said no.
    #[error("the server refused: {0}")]
    Refused(#[from] Refusal),
    /// The connection did not come about, or broke.
    #[error("the connection failed: {0}")]
    Connection(#[from] io::Error),
    /// The server asks for something that is left out here, or is no MySQL server.
    #[error("no common protocol: {0}")]
    Protocol(String),
}

/// What a server says when it refuses a login or a statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error {number}, SQLSTATE {state}")]
pub struct Refusal {
    /// MySQL's number of the error, such as 1045.
    pub number: u16,
    /// Five characters, such as `28000`.
    pub state: String,
    /// The server's words. They can quote data.
    pub said: String,
}

impl Refusal {
    /// Whether this is a login that was refused: a wrong password, no such account, or a locked one.
    ///
    /// A locked account has no SQLSTATE of its own: it is error 3118 of MySQL and 4151 of MariaDB. Error 3955 is an
    /// account that is locked for a while because wrong passwords were tried.
    pub fn is_of_a_login(&self) -> bool {
        self.state.starts_with("28") || matches!(self.number, 3118 | 3955 | 4151)
    }
}

/// Who logs in, and where to.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The account's name, without host.
    pub user: &'a str,
    /// Its password.
    pub password: &'a str,
    /// The database that names without one mean.
    pub database: Option<&'a str>,
}

/// How long a session waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To establish the connection, and for each of the server's answers until the login is through.
    pub connect: Duration,
    /// For each of the server's answers to a statement.
    pub answer: Duration,
}

/// A row, every value as the server writes it; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// What is between client and server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// A network on which others may listen.
    Bare,
    /// The same, under TLS.
    Tls,
    /// Nothing but this machine.
    Socket,
}

/// A session with a server.
pub struct Session {
    channel: Channel,
}

impl Session {
    /// Connects over TCP, with TLS when there is a configuration for it, and logs in.
    ///
    /// # Errors
    /// How it failed. A server without TLS is an error when TLS is wanted.
    pub fn over_tcp(
        host: &str,
        port: u16,
        tls: Option<Arc<rustls::ClientConfig>>,
        login: &Login<'_>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let socket = connect((host, port), limits.connect)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(limits.connect))?;
        socket.set_write_timeout(Some(limits.connect))?;
        // The socket's limits are set through another handle: the first is inside the TLS session by then.
        let timer = socket.try_clone()?;
        let mut channel = Channel::new(socket);
        let greeting = Greeting::read(&channel.read()?)?;
        let mut link = Link::Bare;
        if let Some(tls) = tls {
            if !greeting.offers_tls() {
                return Err(Error::Protocol("the server has no TLS".to_owned()));
            }
            channel.write(&authentication::tls_request(login))?;
            let name = ServerName::try_from(host.to_owned())
                .map_err(|error| Error::Protocol(format!("`{host}`: {error}")))?;
            let session =
                rustls::ClientConnection::new(tls, name).map_err(|error| tls_failed(&error))?;
            channel.wrap(|socket| Box::new(rustls::StreamOwned::new(session, socket)));
            link = Link::Tls;
        }
        let mut session = Self { channel };
        session.log_in(&greeting, login, link)?;
        timer.set_read_timeout(Some(limits.answer))?;
        timer.set_write_timeout(Some(limits.answer))?;
        Ok(session)
    }

    /// Connects over a socket of this machine, and logs in.
    ///
    /// # Errors
    /// How it failed.
    pub fn over_socket(path: &Path, login: &Login<'_>, limits: Limits) -> Result<Self, Error> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(limits.answer))?;
        socket.set_write_timeout(Some(limits.answer))?;
        let mut channel = Channel::new(socket);
        let greeting = Greeting::read(&channel.read()?)?;
        let mut session = Self { channel };
        session.log_in(&greeting, login, Link::Socket)?;
        Ok(session)
    }

    fn log_in(&mut self, greeting: &Greeting, login: &Login<'_>, link: Link) -> Result<(), Error> {
        let mut method = greeting.method();
        let proof = method.proof(login.password, &greeting.challenge, link)?;
        let response = authentication::response(login, link == Link::Tls, method, &proof);
        self.channel.write(&response)?;
        loop {
            let answer = self.channel.read()?;
            match answer.first() {
                Some(0x00) => return Ok(()),
                Some(0xff) => return Err(packet::refusal(&answer).into()),
                Some(0xfe) => {
                    let (wanted, challenge) = authentication::switch(&answer)?;
                    method = wanted;
                    let proof = method.proof(login.password, &challenge, link)?;
                    self.channel.write(&proof)?;
                }
                Some(0x01) => self.go_on(method, answer.get(1), login, link)?,
                _ => return Err(Error::Protocol("unexpected answer to a login".to_owned())),
            }
        }
    }

    /// What `caching_sha2_password` says beside yes and no: that it remembers the password, or wants the whole of it.
    fn go_on(
        &mut self,
        method: Method,
        said: Option<&u8>,
        login: &Login<'_>,
        link: Link,
    ) -> Result<(), Error> {
        match (method, said) {
            (Method::CachingSha2, Some(0x03)) => Ok(()),
            (Method::CachingSha2, Some(0x04)) => self
                .channel
                .write(&authentication::whole(login.password, link)?),
            _ => Err(Error::Protocol("unexpected answer to a login".to_owned())),
        }
    }

    /// Sends one statement; answers its rows, none for a statement that has none.
    ///
    /// Two statements in one text are a syntax error: the server is not told that they may come.
    ///
    /// # Errors
    /// What the server refuses, or how the connection broke.
    pub fn query(&mut self, statement: &str) -> Result<Vec<Row>, Error> {
        self.channel.begin();
        self.channel.write(&packet::command(0x03, statement))?;
        let (rows, _) = self.read_result()?;
        Ok(rows)
    }

    /// Sends statements, divided by semicolons, and reads their answers.
    ///
    /// # Errors
    /// The first that the server refuses; those after it are not carried out.
    pub fn batch(&mut self, statements: &str) -> Result<(), Error> {
        self.allow_several(true)?;
        self.channel.begin();
        self.channel.write(&packet::command(0x03, statements))?;
        while self.read_result()?.1 {}
        self.allow_several(false)
    }

    fn allow_several(&mut self, allowed: bool) -> Result<(), Error> {
        self.channel.begin();
        self.channel.write(&[0x1b, u8::from(!allowed), 0])?;
        let answer = self.channel.read()?;
        match answer.first() {
            Some(0xff) => Err(packet::refusal(&answer).into()),
            _ => Ok(()),
        }
    }

    /// The rows of one statement, and whether those of another follow.
    fn read_result(&mut self) -> Result<(Vec<Row>, bool), Error> {
        let head = self.channel.read()?;
        match head.first() {
            Some(0x00) => return Ok((Vec::new(), packet::more_after_ok(&head)?)),
            Some(0xff) => return Err(packet::refusal(&head).into()),
            Some(0xfb) => {
                return Err(Error::Protocol(
                    "the server asks for a file of the client".to_owned(),
                ));
            }
            _ => {}
        }
        let columns = Reader::new(&head).length()?.unwrap_or_default();
        for _ in 0..columns {
            self.channel.read()?; // names and types: not asked for
        }
        self.channel.read()?; // the end of them
        let mut rows = Vec::new();
        loop {
            let next = self.channel.read()?;
            match next.first() {
                Some(0xff) => return Err(packet::refusal(&next).into()),
                // A row whose first value is 16 MiB long begins with the same byte.
                Some(0xfe) if next.len() < 9 => return Ok((rows, packet::more_after_end(&next)?)),
                _ => {
                    let mut values = Reader::new(&next);
                    rows.push(
                        (0..columns)
                            .map(|_| values.text())
                            .collect::<Result<_, _>>()?,
                    );
                }
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.channel.begin();
        // A server that is gone need not be told that the session is over.
        let _ = self.channel.write(&[0x01]);
    }
}

fn connect(address: (&str, u16), limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn tls_failed(error: &rustls::Error) -> Error {
    Error::Protocol(format!("TLS: {error}"))
}

/// Both directions of a connection.
trait Duplex: Read + Write + Send {}

impl<S: Read + Write + Send> Duplex for S {}
