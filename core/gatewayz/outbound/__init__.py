"""Calling services over HTTP: one call, one answer, one deadline; nothing is retried here."""
