"""The optimizer: how a change is found that other models misread and the authorized model does not."""
