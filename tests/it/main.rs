//! Every integration test of the project, in one binary.
<<<<<<< .merge_file_LYvT0N

mod bad_input;
mod clients;
mod data_dir;
mod kill;
mod tidy;
=======
mod raftlog;
>>>>>>> .merge_file_yy2B5k
