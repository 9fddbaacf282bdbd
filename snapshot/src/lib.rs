//! One file format for state that serves, restarts and travels.
