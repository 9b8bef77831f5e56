"""What a user relies on, seen from outside: commands, HTTP and files."""
