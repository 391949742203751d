"""Photos, folders and manifests on disk; rendered portraits. Imports nothing else of this package but errors."""
