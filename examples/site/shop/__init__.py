"""The demo site's only app."""
