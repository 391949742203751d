"""Folders of results, and folders of remote stores by fsspec. In `data`, only `folder` imports them."""
