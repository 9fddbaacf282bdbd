//! Executors, files, sockets, timers and wakes from outside: the only crate that names glommio.
