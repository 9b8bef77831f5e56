"""What tests, experiments and benches share: planted faults, in a server and in judges; the command line."""
