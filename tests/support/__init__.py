"""What tests, experiments and benches share: a real server with planted faults, and the command line."""
