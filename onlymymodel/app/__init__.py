"""The page behind `omm app`: photos in a browser, on this machine alone. Importing onlymymodel never imports it."""
