//! One network namespace with one device, made and removed by `ip`.

use std::fs::File;
use std::io::Write;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_tap::{Iface, Mode};

use super::{address, mac};
use crate::process::find_program;

/// Names begin with this, then the test process's number: so that tests do not meet, and leftovers can be told.
const PREFIX: &str = "ringraft-";
const NAMES: &str = "/run/netns";
const DEVICE: &str = "tap0";

/// Whether this process may make namespaces and devices, or why not.
pub(super) fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root".to_string());
    }
    find_program("ip").ok_or("`ip` is not installed")?;
    File::options().read(true).write(true).open("/dev/net/tun").map_err(|error| format!("tun: {error}"))?;
    SWEEP.call_once(sweep);
    let probe = Namespace::new();
    ip(&["netns", "add", probe.name()], "").map(|()| drop(probe))
}

static SWEEP: Once = Once::new();

/// Removes what test processes left behind that were killed. Their nodes have ended by themselves.
fn sweep() {
    let Ok(names) = std::fs::read_dir(NAMES) else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            let _ = ip(&["netns", "delete", &name], "");
        }
    }
}

/// Runs `ip` with `input`; what it complained about is the error.
fn ip(args: &[&str], input: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("ip {}: {error}", args.join(" "));
    let mut command = Command::new("ip");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(input.as_bytes()).map_err(failed)?;
    drop(stdin);
    let output = child.wait_with_output().map_err(failed)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("ip {}: {complaint}", args.join(" "))) }
}

/// A namespace; removed when dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    /// A name that nobody uses.
    fn new() -> Namespace {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Namespace { name: format!("{PREFIX}{}-{number}", std::process::id()) }
    }

    /// Makes one, for a port.
    pub fn make(port: u16) -> Namespace {
        let namespace = Namespace::new();
        ip(&["netns", "add", &namespace.name], "").unwrap_or_else(|error| panic!("port {port}: {error}"));
        namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes its device and returns the other end. The device lives as long as that.
    pub fn plug(&self) -> Iface {
        std::thread::scope(|scope| {
            let plug = || {
                let inside = self.enter();
                let tap = Iface::without_packet_info(DEVICE, Mode::Tap);
                drop(inside);
                tap.unwrap_or_else(|error| panic!("{}: no device: {error}", self.name))
            };
            scope.spawn(plug).join().expect("the thread that makes the device")
        })
    }

    /// Gives it its addresses and names all the others.
    pub fn set_up(&self, port: u16, last: u16) {
        let written = |port| mac(port).map(|byte| format!("{byte:02x}")).join(":");
        let mut lines = format!(
            "link set lo up\nlink set {DEVICE} address {}\naddr add {}/24 dev {DEVICE}\nlink set {DEVICE} up\n",
            written(port),
            address(port)
        );
        for other in (0..=last).filter(|other| *other != port) {
            let (to, at) = (address(other), written(other));
            lines += &format!("neigh add {to} lladdr {at} nud permanent dev {DEVICE}\n");
        }
        ip(&["-n", &self.name, "-batch", "-"], &lines).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Removes its device.
    pub fn unplug(&self) {
        let _ = ip(&["-n", &self.name, "link", "delete", DEVICE], "");
    }

    /// Takes the calling thread in.
    pub fn enter(&self) -> Inside {
        let open =
            |path: &Path| File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let before = open(Path::new("/proc/thread-self/ns/net"));
        let target = open(&Path::new(NAMES).join(&self.name));
        step_into(&target).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        Inside { before, _bound_to_its_thread: PhantomData }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.name], "");
    }
}

fn step_into(namespace: &File) -> rustix::io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}

/// The calling thread is in a namespace, and goes back to its own when this is dropped.
#[derive(Debug)]
pub struct Inside {
    before: File,
    _bound_to_its_thread: PhantomData<*const ()>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Err(error) = step_into(&self.before) {
            eprintln!("this thread cannot go back to its network: {error}");
        }
    }
}
