//! Why the kernel refused an io_uring, and what to change: what the error number alone does not tell, the machine does.

use std::io;

use rustix::process::{Resource, getrlimit};

use crate::host::{MEMLOCK_BYTES_MIN, StartError, kibibytes};

const NEEDED: &str = "Linux 6.0 or newer is needed";
const PERMIT: &str = "in a container allow it with docker run --security-opt seccomp=unconfined, or with a profile that \
                      permits io_uring_setup, io_uring_enter and io_uring_register";

/// What a failure to set up a ring means here and now.
pub(crate) fn ring_error(error: &io::Error) -> StartError {
    explain(error, &Host::observe())
}

/// What of this machine decides which cause it was. All of it can change between the refusal and the look at it.
#[derive(Default)]
struct Host {
    /// The sysctl `kernel.io_uring_disabled`; `None`: this kernel has no such setting (it came with Linux 6.6), or it
    /// cannot be read.
    disabled: Option<String>,
    /// The group that may use io_uring when `disabled` is 1.
    group: Option<String>,
    /// The kernel's release.
    release: Option<String>,
    /// Whether a seccomp filter is on this process.
    filtered: bool,
    /// Bytes that may be locked; `None`: as many as there are.
    memlock: Option<u64>,
}

impl Host {
    fn observe() -> Host {
        let read = |path| std::fs::read_to_string(path).ok().map(|text: String| text.trim().to_owned());
        let status = read("/proc/self/status").unwrap_or_default();
        Host {
            disabled: read("/proc/sys/kernel/io_uring_disabled"),
            group: read("/proc/sys/kernel/io_uring_group"),
            release: read("/proc/sys/kernel/osrelease"),
            filtered: status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2')),
            memlock: getrlimit(Resource::Memlock).current,
        }
    }

    /// Whether the kernel's release says that it is too old. One that cannot be understood is not.
    fn is_old(&self) -> bool {
        let major =
            self.release.as_deref().and_then(|release| release.split('.').next()?.parse::<u32>().ok());
        major.is_some_and(|major| major < 6)
    }
}

fn explain(error: &io::Error, host: &Host) -> StartError {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => StartError::IoUring(missing(host)),
        Some(libc::EPERM | libc::EACCES) => StartError::IoUring(forbidden(error, host)),
        Some(libc::ENOMEM) => StartError::Limits(format!(
            "the kernel has no memory for an io_uring: the machine's memory, or the limit of this container or service \
             (cgroup memory.max), is used up{}",
            match host.memlock.filter(|limit| *limit < MEMLOCK_BYTES_MIN) {
                Some(limit) => format!("; and raise `ulimit -l` (it is {})", kibibytes(Some(limit))),
                None => String::new(),
            }
        )),
        Some(libc::EMFILE | libc::ENFILE) => {
            StartError::Limits("file descriptors ran out: raise `ulimit -n`".to_owned())
        }
        _ => StartError::IoUring(format!("cannot set up an io_uring: {error}")),
    }
}

fn missing(host: &Host) -> String {
    let release = host.release.as_deref().unwrap_or("unknown");
    if host.is_old() {
        return format!("this kernel ({release}) has no io_uring: {NEEDED}");
    }
    let hidden = if host.filtered { " A seccomp filter is on this process:" } else { " Or it is hidden:" };
    format!(
        "this kernel ({release}) answers that it has no io_uring: it was built without it.{hidden} {PERMIT}"
    )
}

fn forbidden(error: &io::Error, host: &Host) -> String {
    match host.disabled.as_deref() {
        Some("1") => {
            let group = host.group.as_deref().filter(|group| *group != "-1");
            let group = group.map_or_else(|| "none yet".to_owned(), |group| format!("now {group}"));
            format!(
                "io_uring is forbidden by sysctl kernel.io_uring_disabled, which is 1: set it to 0, or run as a member of \
                 the group in kernel.io_uring_group ({group})"
            )
        }
        Some(setting) if setting != "0" => {
            format!(
                "io_uring is forbidden by sysctl kernel.io_uring_disabled, which is {setting}: set it to 0"
            )
        }
        _ if host.filtered => {
            format!("io_uring is forbidden by the seccomp filter on this process ({error}): {PERMIT}")
        }
        _ => format!(
            "io_uring is forbidden ({error}), though no sysctl and no seccomp filter forbids it to this process: look for a \
             security module (SELinux, AppArmor) in the kernel's log, and if something else filters its system calls, {PERMIT}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(errno: i32, host: &Host) -> String {
        explain(&io::Error::from_raw_os_error(errno), host).to_string()
    }

    fn host(disabled: &str) -> Host {
        let disabled = (!disabled.is_empty()).then(|| disabled.to_owned());
        Host { disabled, release: Some("6.8.0-45-generic".to_owned()), ..Host::default() }
    }

    #[test]
    fn a_sysctl_is_blamed_only_where_it_forbids() {
        for errno in [libc::EPERM, libc::EACCES] {
            let two = text(errno, &host("2"));
            assert!(two.contains("kernel.io_uring_disabled, which is 2: set it to 0"), "{two}");
            let one = text(errno, &Host { group: Some("1001".to_owned()), ..host("1") });
            assert!(one.contains("which is 1") && one.contains("io_uring_group (now 1001)"), "{one}");
            assert!(text(errno, &Host { group: Some("-1".to_owned()), ..host("1") }).contains("none yet"));
            for allowed in ["0", ""] {
                let filtered = text(errno, &Host { filtered: true, ..host(allowed) });
                assert!(filtered.contains("seccomp filter on this process"), "{filtered}");
                let unfiltered = text(errno, &host(allowed));
                assert!(
                    unfiltered.contains("SELinux") && unfiltered.contains("not permitted")
                        || unfiltered.contains("denied"),
                    "{unfiltered}"
                );
                for said in [filtered, unfiltered] {
                    assert!(!said.contains("io_uring_disabled"), "{said}");
                }
            }
        }
    }

    #[test]
    fn an_absent_io_uring_is_old_or_hidden() {
        let old = text(libc::ENOSYS, &Host { release: Some("4.19.0".to_owned()), ..host("") });
        assert!(old.contains("4.19.0") && old.contains(NEEDED) && !old.contains("seccomp"), "{old}");
        for filtered in [false, true] {
            let hidden = text(libc::ENOSYS, &Host { filtered, ..host("0") });
            assert!(hidden.contains("6.8.0") && hidden.contains("seccomp"), "{hidden}");
            assert!(!hidden.contains("io_uring_disabled"), "{hidden}");
        }
    }

    #[test]
    fn limits_are_named() {
        let short = text(libc::ENOMEM, &Host { memlock: Some(65536), ..host("0") });
        assert!(short.contains("memory.max") && short.contains("`ulimit -l` (it is 64 KiB)"), "{short}");
        for memlock in [None, Some(8 << 20)] {
            let enough = text(libc::ENOMEM, &Host { memlock, ..host("0") });
            assert!(enough.contains("memory.max") && !enough.contains("ulimit"), "{enough}");
        }
        assert!(text(libc::EMFILE, &host("0")).contains("ulimit -n"));
        assert!(text(libc::EINVAL, &host("0")).contains("cannot set up an io_uring"));
    }
}
