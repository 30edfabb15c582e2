//! Leases on disk: who works on a stage, and since when nothing was heard of it.
//!
//! A lease is a file `leases/<digest>/000003.json`; the highest number counts. A process takes a lease by
//! creating the file with the next number, which succeeds for one process alone on every file system,
//! and then removes those before. The highest number is never removed, so numbers only rise.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine;
use crate::{Error, Stage};

/// Bytes of a lease file. All are written at once, so a reader never sees a part of them.
const FILE_BYTES: usize = 512;

/// Settings of claims. Processes that share a store may have different ones: a lease carries its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Time without a heartbeat after which another process may take a lease over.
    pub expires_after: Duration,
    /// True if file locks tell that a process on the same machine lives. Otherwise heartbeats do, and
    /// nothing is compacted.
    pub uses_locks: bool,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self { expires_after: Duration::from_secs(120), uses_locks: true }
    }
}

impl LeaseSettings {
    /// Returns the time between two heartbeats.
    pub(crate) fn interval(self) -> Duration {
        self.expires_after / 12
    }
}

/// Contents of a lease file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Lease {
    pub(crate) host: String,
    pub(crate) pid: u32,
    /// Seconds of the owner's clock since 1970 at which it took the lease. For people only.
    pub(crate) since: u64,
    pub(crate) kernel: String,
    /// True if the owner holds a lock on the file.
    pub(crate) is_locked: bool,
    pub(crate) expires_after_secs: f64,
    pub(crate) is_released: bool,
    /// Number of heartbeats.
    pub(crate) beat: u64,
}

impl Lease {
    pub(crate) fn new(settings: LeaseSettings) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the time is shown to people only")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            host: machine::host().to_owned(),
            pid: std::process::id(),
            since: since.as_secs(),
            kernel: machine::kernel().to_owned(),
            is_locked: false,
            expires_after_secs: settings.expires_after.as_secs_f64(),
            is_released: false,
            beat: 0,
        }
    }

    pub(crate) fn write(&self, mut file: &File) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.resize(bytes.len().max(FILE_BYTES - 1), b' ');
        bytes.push(b'\n');
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&bytes)?;
        file.sync_all()
    }

    /// Returns the lease in `bytes`; none while its owner writes it for the first time.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Returns true if its owner has ended: it ran on this machine, and the lock that it held is free.
    fn has_dead_owner(&self, file: &File) -> bool {
        self.is_locked && self.kernel == machine::kernel() && file.try_lock().is_ok()
    }

    fn expires_after(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.expires_after_secs).ok()
    }
}

/// Reading of the current lease of a stage.
#[derive(Debug)]
pub(crate) struct LeaseReading {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    /// Contents, which change with each heartbeat.
    pub(crate) bytes: Vec<u8>,
    pub(crate) lease: Option<Lease>,
    /// True if it was released or its owner has ended.
    pub(crate) is_free: bool,
}

impl LeaseReading {
    /// Returns the time without a change after which the lease may be taken over.
    pub(crate) fn expires_after(&self, settings: LeaseSettings) -> Duration {
        let own = self.lease.as_ref().and_then(Lease::expires_after);
        own.unwrap_or(settings.expires_after)
    }

    /// Names the owner, for people.
    pub(crate) fn owner(&self) -> String {
        match &self.lease {
            Some(Lease { host, pid, .. }) => format!("process {pid} on `{host}`"),
            None => "another process".to_owned(),
        }
    }
}

/// Process that works on a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// Name of its host.
    pub host: String,
    /// Its process id on that host.
    pub pid: u32,
    /// Seconds since 1970, by its own clock, at which it began.
    pub since: u64,
    /// Seconds since the last heartbeat by the clock of the file system; none if that can't be asked.
    pub heartbeat_secs: Option<f64>,
    /// Seconds without a heartbeat after which another process may take over.
    pub expires_after_secs: f64,
}

impl Stage {
    pub(crate) fn lease_folder(&self) -> PathBuf {
        self.store.root().join("leases").join(self.digest().as_str())
    }

    /// Returns the process that works on the stage, if one does.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if its lease can't be read.
    pub fn holder(&self) -> Result<Option<Holder>, Error> {
        let folder = self.lease_folder();
        let reading = current_lease(&folder, self.store.leases().uses_locks);
        let Some(reading) = reading.map_err(Error::read(&folder))? else { return Ok(None) };
        let Some(lease) = reading.lease.filter(|_| !reading.is_free) else { return Ok(None) };
        Ok(Some(Holder {
            host: lease.host,
            pid: lease.pid,
            since: lease.since,
            heartbeat_secs: age(&folder, &reading.path),
            expires_after_secs: lease.expires_after_secs,
        }))
    }
}

/// Returns how long ago `path` was changed, by the clock that stamps the files of its folder: that of the
/// file server, whatever the clocks of the hosts say.
fn age(folder: &Path, path: &Path) -> Option<f64> {
    let probe = folder.join(format!(".now-{}-{}", machine::kernel_tag(), std::process::id()));
    fs::write(&probe, b"now").ok()?;
    let now = fs::metadata(&probe).and_then(|now| now.modified());
    let _ = fs::remove_file(&probe);
    let changed = File::open(path).and_then(|file| file.metadata()?.modified());
    Some(now.ok()?.duration_since(changed.ok()?).unwrap_or_default().as_secs_f64())
}

/// Returns the numbers of the leases in `folder`.
pub(crate) fn lease_numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

pub(crate) fn lease_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.json"))
}

/// Reads the lease that counts; none if the stage was never claimed.
pub(crate) fn current_lease(folder: &Path, uses_locks: bool) -> io::Result<Option<LeaseReading>> {
    loop {
        let Some(number) = lease_numbers(folder)?.into_iter().max() else { return Ok(None) };
        let path = lease_path(folder, number);
        let (file, bytes) = match read_lease(&path, uses_locks) {
            Ok(found) => found,
            Err(error) if is_gone(&error) => {
                // Its successor has removed it. A network file system may list it for a while.
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            Err(error) => return Err(error),
        };
        let lease = Lease::read(&bytes);
        let is_free = lease
            .as_ref()
            .is_some_and(|lease| lease.is_released || (uses_locks && lease.has_dead_owner(&file)));
        return Ok(Some(LeaseReading { number, path, bytes, lease, is_free }));
    }
}

/// Opens and reads a lease file. Network file systems look for changes when a file is opened.
fn read_lease(path: &Path, uses_locks: bool) -> io::Result<(File, Vec<u8>)> {
    // Locks of a network file system need a file that can be written.
    let mut file = match OpenOptions::new().read(true).write(uses_locks).open(path) {
        Err(error) if !is_gone(&error) => File::open(path)?,
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((file, bytes))
}

/// Returns true if an error says that a file was removed, here or on another host.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
}

/// Creates the lease `number`, unless another process is faster.
pub(crate) fn take_lease(
    folder: &Path,
    number: u64,
    settings: LeaseSettings,
) -> io::Result<Option<(File, Lease)>> {
    fs::create_dir_all(folder)?;
    let path = lease_path(folder, number);
    let file = match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lease = Lease::new(settings);
    lease.is_locked = settings.uses_locks && file.try_lock().is_ok();
    if let Err(error) = lease.write(&file) {
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    let numbers = lease_numbers(folder)?;
    if numbers.iter().any(|other| *other > number) {
        // This process read the folder long ago; others have come and gone since.
        fs::remove_file(&path)?;
        return Ok(None);
    }
    for old in numbers.into_iter().filter(|other| *other < number) {
        // An owner that still lives learns from the missing file that it has lost its lease.
        let _ = fs::remove_file(lease_path(folder, old));
    }
    Ok(Some((file, lease)))
}
