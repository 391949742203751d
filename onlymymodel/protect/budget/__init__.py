"""Budgets: how visible a change of a photo may be, and measures of how visible it is."""
