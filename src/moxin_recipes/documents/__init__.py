"""Raw text to clean documents: sources, filters, deduplication, decontamination."""
