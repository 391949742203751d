"""Folders of results, and folders of remote stores by fsspec."""
