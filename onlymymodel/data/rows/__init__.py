"""Pictures in rows of Parquet files, as the library `datasets` and the Hugging Face Hub have them."""
