"""A site's configuration: settings from file and environment, and the tables that it names."""
