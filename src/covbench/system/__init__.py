"""The operating system: files, content hashes, disk, logs, signals and GPU leases; nothing here decides a number."""
