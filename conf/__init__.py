"""The config groups, as package data: `pkg://vpo.conf`."""
