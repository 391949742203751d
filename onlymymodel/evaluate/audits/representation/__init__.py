"""Protected representations: the defense, and its audit by representation inversion."""
