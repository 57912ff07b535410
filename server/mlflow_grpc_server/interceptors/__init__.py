"""What happens around every call: its id, its log line, its errors."""
