"""What can be said to the verbs that use a trained model: one dataclass a verb, as in `earthtone.options`. Light."""
