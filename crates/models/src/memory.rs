//! Free memory of the host and of devices.

use std::process::Command;

use crate::Device;

/// Returns the bytes of host memory that a process can still allocate, if the system reports them.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

impl Device {
    /// Returns true if its memory is the host's.
    pub fn uses_host_memory(&self) -> bool {
        self.to_string().starts_with("cpu")
    }

    /// Returns the free bytes of its memory, if they are reported: by the system for the CPU, by the
    /// driver for `cuda:N`.
    pub fn free_memory(&self) -> Option<u64> {
        if self.uses_host_memory() {
            return available_memory();
        }
        let name = self.to_string();
        let number = name.strip_prefix("cuda:")?.split(':').next()?.parse().ok()?;
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let gpu = driver_name(visible.as_deref(), number)?;
        let query = ["--query-gpu=memory.free", "--format=csv,noheader,nounits", "--id"];
        let said = Command::new("nvidia-smi").args(query).arg(gpu).output().ok()?;
        let mib: u64 = String::from_utf8(said.stdout).ok()?.trim().parse().ok()?;
        Some(mib << 20)
    }
}

/// Returns the driver's name of the device that a process sees as `number`.
fn driver_name(visible: Option<&str>, number: usize) -> Option<String> {
    match visible {
        None | Some("") => Some(number.to_string()),
        Some(visible) => Some(visible.split(',').nth(number)?.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_reports_its_free_memory() {
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
        assert!(Device::cpu().uses_host_memory());
        assert!(Device::cpu().free_memory().is_some());
    }

    #[test]
    fn devices_are_counted_among_those_that_are_visible() {
        assert_eq!(driver_name(None, 2).as_deref(), Some("2"));
        assert_eq!(driver_name(Some("5,GPU-1a"), 1).as_deref(), Some("GPU-1a"));
        assert_eq!(driver_name(Some("5"), 1), None);
    }
}
