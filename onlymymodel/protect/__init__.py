"""Making a protected photo: budget, views, objective, optimizer, photo, folder."""
