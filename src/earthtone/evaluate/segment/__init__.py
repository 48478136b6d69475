"""Land-cover segmentation on any backbone: train a head, predict whole tiles, measure, draw."""
