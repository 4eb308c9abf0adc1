"""Core. Who is who: SPIFFE IDs, the certificates that prove them, and when these are renewed."""
