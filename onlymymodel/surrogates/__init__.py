"""Models: the authorized one, the surrogates, and black boxes that only answer."""
