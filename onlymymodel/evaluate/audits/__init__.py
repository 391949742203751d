"""Audits of other releases that reveal a person: gradients, intermediate outputs, weights, representations."""
