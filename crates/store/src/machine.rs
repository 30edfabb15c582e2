//! The machine and the process that own a claim or write a part.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use preceptor_core::Digest;

/// Returns the name of the host, as its users know it.
pub(crate) fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let read = fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let asked = || {
            let output = Command::new("hostname").output().ok()?;
            String::from_utf8(output.stdout).ok()
        };
        let name = read.or_else(asked).unwrap_or_default();
        if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
    })
}

/// Returns the name of the running kernel. Processes with the same name see each other's file locks on
/// every file system that has any, in containers too; after a restart it is another.
pub(crate) fn kernel() -> &'static str {
    static KERNEL: OnceLock<String> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if boot.trim().is_empty() { host().to_owned() } else { boot.trim().to_owned() }
    })
}

/// Returns a short name of the running kernel, for names of files.
pub(crate) fn kernel_tag() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| Digest::of(kernel().as_bytes()).as_str()[..8].to_owned())
}
