"""The client engine over a log store; docs/design.md has the map."""
