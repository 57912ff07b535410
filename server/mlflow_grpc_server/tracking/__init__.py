"""MLflow and the stores behind it; blocking calls leave the event loop here."""
