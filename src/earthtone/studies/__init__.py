"""Verbs that cross folders: each is one function."""
