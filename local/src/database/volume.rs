//! A cluster's data: from a snapshot's image to a running server and back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use super::storage::{DataRoot, Directory, copy_files};
use super::{Bootstrap, Credentials, DatabaseError, Engine, Server};

/// An engine and the place its data is kept.
#[derive(Clone)]
pub struct Store {
    /// What runs the databases.
    pub engine: Arc<dyn Engine>,
    /// Where they live.
    pub root: Arc<DataRoot>,
}

/// A cluster's data at one moment: what a snapshot holds. Copying it copies nothing.
#[derive(Clone, Debug)]
pub struct Image {
    content: ImageContent,
    // A password set since, on a cluster that had no server to set it on.
    pending: Option<Credentials>,
}

#[derive(Clone, Debug)]
enum ImageContent {
    Empty(Bootstrap),
    Stored(Arc<Directory>),
}

impl Image {
    /// The data of a cluster in which no server has ever run.
    pub fn empty(bootstrap: Bootstrap) -> Self {
        Self {
            content: ImageContent::Empty(bootstrap),
            pending: None,
        }
    }
}

/// A cluster's data, with a server over it while it has instances.
///
/// Without a [`Store`] there is no data and no server: every call succeeds and does nothing.
pub struct Volume {
    store: Option<Store>,
    state: Mutex<State>,
}

struct State {
    content: Content,
    pending: Option<Credentials>,
    /// What the database was when its first server started, and when that server was ready.
    began: Option<(Image, SystemTime)>,
}

enum Content {
    Image(ImageContent),
    Stopped(Arc<Directory>),
    Running(Running),
    Removed,
}

struct Running {
    // Declared, and so dropped, before the directory it runs in.
    server: Box<dyn Server>,
    directory: Arc<Directory>,
    listen: SocketAddr,
}

impl Volume {
    /// A volume that will start from this image.
    pub fn new(store: Option<Store>, image: Image) -> Self {
        let state = State {
            content: Content::Image(image.content),
            pending: image.pending,
            began: None,
        };
        Self {
            store,
            state: Mutex::new(state),
        }
    }

    /// Starts a server on this address. One that runs elsewhere moves; one that runs there stays.
    ///
    /// # Errors
    /// When the image cannot be copied or the server does not come up.
    pub fn start(&self, listen: SocketAddr) -> Result<(), DatabaseError> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let mut state = self.lock();
        if let Content::Running(running) = &state.content {
            if running.listen == listen {
                return Ok(());
            }
            stop_server(&mut state)?;
        }
        let first = match &state.content {
            Content::Image(content) => Some(Image {
                content: content.clone(),
                pending: state.pending.clone(),
            }),
            _ => None,
        };
        let (directory, bootstrap) = materialise(store, &state.content)?;
        let mut server = store.engine.start(directory.path(), listen)?;
        if let Some(bootstrap) = bootstrap {
            server.create_master(&bootstrap)?;
        }
        if let Some(credentials) = state.pending.take() {
            server.reset_master(&credentials)?;
        }
        if let Some(first) = first {
            state.began = Some((first, machine_time()));
        }
        state.content = Content::Running(Running {
            server,
            directory,
            listen,
        });
        Ok(())
    }

    /// Stops the server, if one runs; the data stays.
    ///
    /// # Errors
    /// When it cannot be told to stop.
    pub fn stop(&self) -> Result<(), DatabaseError> {
        stop_server(&mut self.lock())
    }

    /// Stops and starts the server where it is.
    ///
    /// # Errors
    /// As [`Volume::start`].
    pub fn restart(&self) -> Result<(), DatabaseError> {
        let listen = match &self.lock().content {
            Content::Running(running) => running.listen,
            _ => return Ok(()),
        };
        self.stop()?;
        self.start(listen)
    }

    /// Moves a running server to this address; one that does not run stays as it is.
    ///
    /// # Errors
    /// As [`Volume::start`].
    pub fn move_to(&self, listen: SocketAddr) -> Result<(), DatabaseError> {
        match self.socket() {
            Some(_) => self.start(listen),
            None => Ok(()),
        }
    }

    /// Copies the data as it is now, without disturbing a server that runs.
    ///
    /// # Errors
    /// When the copy fails, or the volume was removed.
    pub fn image(&self) -> Result<Image, DatabaseError> {
        let mut state = self.lock();
        let pending = state.pending.clone();
        let content = match (&mut state.content, &self.store) {
            (Content::Image(content), _) => content.clone(),
            (Content::Running(running), Some(store)) => {
                let copy = store.root.directory("snapshot")?;
                running.server.back_up(copy.path())?;
                ImageContent::Stored(copy)
            }
            (Content::Stopped(directory), Some(store)) => {
                let copy = store.root.directory("snapshot")?;
                copy_files(store.root.account(), directory.path(), copy.path())?;
                ImageContent::Stored(copy)
            }
            _ => return Err(DatabaseError::State("the volume is gone")),
        };
        Ok(Image { content, pending })
    }

    /// The data as it was at a moment of the machine's clock, by the log of the server that runs.
    ///
    /// # Errors
    /// When no server runs that could have written a log, or its engine cannot go back.
    pub fn image_at(&self, until: SystemTime) -> Result<Image, DatabaseError> {
        let mut state = self.lock();
        let State { content, began, .. } = &mut *state;
        let (Content::Running(running), Some(store)) = (content, &self.store) else {
            drop(state);
            // Without a server nothing changes.
            return self.image();
        };
        let Some((first, ready)) = began else {
            return Err(DatabaseError::State("the volume has no beginning"));
        };
        if until < *ready {
            return Ok(first.clone());
        }
        running.server.finish_log()?;
        let copy = store.root.directory("recovery")?;
        match &first.content {
            ImageContent::Empty(_) => store.engine.initialise(copy.path())?,
            ImageContent::Stored(image) => {
                copy_files(store.root.account(), image.path(), copy.path())?;
            }
        }
        let log_of = running.directory.path();
        store.engine.recover(copy.path(), log_of, until)?;
        Ok(Image {
            content: ImageContent::Stored(copy),
            pending: None,
        })
    }

    /// Sets the master password: now if a server runs, else when the next one starts.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn reset_master(&self, credentials: Credentials) -> Result<(), DatabaseError> {
        let mut state = self.lock();
        match &mut state.content {
            Content::Running(running) => running.server.reset_master(&credentials),
            _ => {
                state.pending = Some(credentials);
                Ok(())
            }
        }
    }

    /// Runs statements as the service's own superuser.
    ///
    /// # Errors
    /// When no server runs, or it refuses.
    pub fn run_as_superuser(&self, database: &str, statements: &str) -> Result<(), DatabaseError> {
        match &mut self.lock().content {
            Content::Running(running) => running.server.run_as_superuser(database, statements),
            _ => Err(DatabaseError::State("no server runs on this cluster")),
        }
    }

    /// Where the service's own superuser connects, while a server runs.
    pub fn socket(&self) -> Option<PathBuf> {
        match &self.lock().content {
            Content::Running(running) => Some(running.server.socket()),
            _ => None,
        }
    }

    /// Stops the server and removes the data.
    pub fn remove(&self) {
        self.lock().content = Content::Removed;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The time by which servers stamp what they commit.
pub fn machine_time() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "database servers read the machine's clock, whatever the world's says"
    )]
    SystemTime::now()
}

/// The directory to run in, and what to create in it when it is new.
fn materialise(
    store: &Store,
    content: &Content,
) -> Result<(Arc<Directory>, Option<Bootstrap>), DatabaseError> {
    match content {
        Content::Image(ImageContent::Empty(bootstrap)) => {
            let directory = store.root.directory("volume")?;
            store.engine.initialise(directory.path())?;
            Ok((directory, Some(bootstrap.clone())))
        }
        Content::Image(ImageContent::Stored(image)) => {
            let directory = store.root.directory("volume")?;
            copy_files(store.root.account(), image.path(), directory.path())?;
            Ok((directory, None))
        }
        Content::Stopped(directory) => Ok((Arc::clone(directory), None)),
        Content::Running(_) | Content::Removed => Err(DatabaseError::State("the volume is gone")),
    }
}

fn stop_server(state: &mut State) -> Result<(), DatabaseError> {
    match std::mem::replace(&mut state.content, Content::Removed) {
        Content::Running(running) => {
            let stopped = running.server.stop();
            state.content = Content::Stopped(running.directory);
            stopped
        }
        other => {
            state.content = other;
            Ok(())
        }
    }
}
