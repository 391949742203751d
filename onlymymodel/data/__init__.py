"""Photos, folders and manifests on disk; labelled datasets; rendered portraits. Imports only `errors`."""
