"""Pure converters between messages and MLflow entities, one module a resource."""
