"""Core. Services, endpoints, snapshots."""
