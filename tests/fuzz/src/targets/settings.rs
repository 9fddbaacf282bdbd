//! The settings file of `ringraft serve`.

use std::path::Path;

use ringraft::cli::settings::{ServeArgs, Settings};

/// What is printed for `--print-config` is a settings file that gives the same settings.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let resolve =
        |text: &str| Settings::resolve(&ServeArgs::default(), |_| None, Some((Path::new("r.toml"), text)));
    if let Ok((settings, layers)) = resolve(text) {
        let printed = layers.to_string();
        match resolve(&printed) {
            Ok((again, _)) => assert_eq!(again, settings, "{printed}"),
            Err(error) => panic!("{error}: {printed}"),
        }
    }
}

/// Seeds of [`settings`].
#[must_use]
pub fn settings_seeds() -> Vec<Vec<u8>> {
    let whole = concat!(
        "node = 1\ndata = \"./d\"\ncluster = [\"1=127.0.0.1:7101\", \"2=[::1]:7201\"]\n",
        "client = \"127.0.0.1:6101\"\nadvertise = \"h\"\nhttp = \"127.0.0.1:8101\"\nshards = 2\ngroups = 16\n",
        "redirect = \"moved\"\ndeadline = \"1500ms\"\nsnapshot_after_mib = 256\nstate_memory_mib = 64\nlease_reads = true\n",
        "insecure = true\n",
    );
    let short = "node = 1\ndata = 'd'\ncluster = \"1=127.0.0.1:7101\"\n";
    let wrong = ["nod = 1\n", "node = \"1\"\n", "[node]\n", "cluster = [1]\n", "deadline = \"1e9h\"\n"];
    let mut seeds = vec![whole.as_bytes().to_vec(), short.as_bytes().to_vec()];
    seeds.extend(wrong.map(|line| [short, line].concat().into_bytes()));
    seeds
}
