//! The weights of a model on one of its devices.

use std::fmt;
use std::thread;

use crate::Device;
use crate::decoder::Decoder;

/// A device and a decoder whose weights are on it.
pub struct Replica {
    device: Device,
    decoder: Box<dyn Decoder>,
}

impl Replica {
    pub(crate) fn new(device: Device, decoder: Box<dyn Decoder>) -> Self {
        Self { device, decoder }
    }

    /// Returns the device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the decoder.
    pub fn decoder(&self) -> &dyn Decoder {
        &*self.decoder
    }
}

impl Clone for Replica {
    fn clone(&self) -> Self {
        Self { device: self.device.clone(), decoder: self.decoder.clone_box() }
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("device", &self.device).finish_non_exhaustive()
    }
}

/// Runs `work` for each part in a thread of its own and returns the results in the order of the parts. A
/// single part runs in the calling thread.
pub fn side_by_side<P: Send, R: Send>(parts: Vec<P>, work: impl Fn(P) -> R + Sync) -> Vec<R> {
    if parts.len() < 2 {
        return parts.into_iter().map(work).collect();
    }
    thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> =
            parts.into_iter().map(|part| scope.spawn(move || work(part))).collect();
        let result = |thread: thread::ScopedJoinHandle<'_, R>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        started.into_iter().map(result).collect()
    })
}
