"""Why a model says what it says: which places of a tile or a spectrogram speak for a match, and what lies near what."""
