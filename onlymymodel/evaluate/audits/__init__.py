"""What else gives a person away: gradients, intermediate outputs, weights, representations."""
