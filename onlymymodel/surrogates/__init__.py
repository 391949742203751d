"""Models: loading them from URIs, black boxes, galleries, cached answers, checks."""
