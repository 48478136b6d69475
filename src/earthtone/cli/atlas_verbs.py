"""The verbs that use a trained model: its vectors, maps and exports. As verbs.py, whose helpers they share."""
