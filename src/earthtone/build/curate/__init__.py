"""Rows that are worth training on: each file measured once, rules with thresholds, what was dropped and why."""
