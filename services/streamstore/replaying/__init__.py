"""Replaying order files: reading them, watching them through the services, reporting."""
